"""Figures of the lines of a benchmark, and how far the product's differ from the rivals'."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.metrics import (
    Difference,
    count_rows,
    f1_score,
    false_alarm_rate,
    fault_detection_rate,
    missed_alarm_rate,
    paired_difference,
    roc_auc,
    rows_to_alarm,
    threshold_at_rate,
)
from pipelines.benchmark_data import HARD_FAULTS, PLANT_WINDOW, BenchmarkName
from pipelines.benchmark_methods import JudgedRun, Line

Numbers = NDArray[np.float64]
Counted = Callable[[Sequence[JudgedRun]], Numbers]
"""What is counted of each unit, (unit, count)."""
OfSums = Callable[[Numbers], Numbers]
"""A figure of the sums over units, (..., count) to (...)."""

COMPARED_RATES = (0.01, 0.05)
"""False alarm rates that thresholds are set to, for comparison only."""


@dataclass(frozen=True)
class Outcome:
    """What came of one line with one seed."""

    line: Line
    seed: int
    judged: tuple[JudgedRun, ...]
    refused: tuple[str, ...]
    """Sentences of the cases that it refused to learn from."""
    seconds: float
    """Learning and scoring; lines of one detector share it."""
    has_scores: bool
    """False where it refused everything."""


@dataclass(frozen=True)
class Comparison:
    """A figure of a line of the product against that of a rival."""

    product: Line
    rival: Line
    figure: str
    difference: Difference


def make_figures(name: BenchmarkName, outcome: Outcome) -> dict[str, float]:
    """Figures of a line with one seed; none where it refused to learn.

    SKAB: ``f1``, ``far``, ``mar`` and ``auc`` over the rows of all runs. Every run has a detector
    of its own, but their scores are all ``-log10 p``, and are ranked as they are.

    TEP: ``fdr``, the mean over the faults, ``fdr_without_3_9_15``, ``far`` over the rows of the
    normal runs, ``found``, the share of faults with an alarm, ``delay_s``, the median from the
    onset to the alarm with faults not found counting as infinite, and the detection rates again
    with the threshold moved to a false alarm rate of 1% and 5%, for comparison only.
    """
    if not outcome.has_scores:
        return {}
    return _pump_figures(outcome.judged) if name == "skab" else _plant_figures(outcome.judged)


def _pump_figures(judged: Sequence[JudgedRun]) -> dict[str, float]:
    counts = _counts(judged).sum(axis=0)
    faulty = np.concatenate([one.run.faulty for one in judged])
    return {
        "f1": float(f1_score(counts)),
        "far": float(false_alarm_rate(counts)),
        "mar": float(missed_alarm_rate(counts)),
        "auc": roc_auc(faulty, np.concatenate([one.score for one in judged])),
    }


def _plant_figures(judged: Sequence[JudgedRun]) -> dict[str, float]:
    normal, faults = _normal(judged), _faults(judged)
    delays = [_delay_s(one) for one in faults]
    figures = {
        **_detection(faults),
        "far": float(false_alarm_rate(_counts(normal).sum(axis=0))),
        "found": float(np.mean(np.isfinite(delays))),
        "delay_s": float(np.median(delays)),
    }
    scores = np.concatenate([one.score for one in normal])
    for rate in COMPARED_RATES:
        threshold = threshold_at_rate(scores, rate)
        moved = [JudgedRun(one.run, one.score, threshold) for one in faults]
        at_rate = _detection(moved).items()
        figures |= {f"{figure}_at_far_{rate:.0%}".rstrip("%"): value for figure, value in at_rate}
    return figures


def _detection(faults: Sequence[JudgedRun]) -> dict[str, float]:
    rates = fault_detection_rate(_counts(faults))
    easier = np.array([one.run.fault not in HARD_FAULTS for one in faults])
    return {
        "fdr": float(rates.mean()),
        "fdr_without_3_9_15": float(rates[easier].mean()),
    }


def _delay_s(judged: JudgedRun) -> float:
    """Seconds of faulty running up to the alarm; infinite if there is none."""
    rows = rows_to_alarm(judged.anomalous[judged.run.faulty])
    return np.inf if rows is None else rows * PLANT_WINDOW.sample_period_s


def part_figures(name: BenchmarkName, outcome: Outcome) -> dict[str, float]:
    """The first figure apart: F1 of each run of SKAB, FDR of each fault of TEP."""
    if not outcome.has_scores:
        return {}
    if name == "skab":
        values = f1_score(_counts(outcome.judged))
        return {one.run.name: float(v) for one, v in zip(outcome.judged, values, strict=True)}
    faults = _faults(outcome.judged)
    rates = fault_detection_rate(_counts(faults))
    numbers = np.array([one.run.fault for one in faults])
    return {str(number): float(rates[numbers == number].mean()) for number in np.unique(numbers)}


def mean_figures(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over the seeds; of the delay the median, because it may be infinite.

    Example:
        >>> mean_figures([{"far": 0.01, "delay_s": 60.0}, {"far": 0.03, "delay_s": 120.0}])
        {'far': 0.02, 'delay_s': 90.0}
    """
    return {
        name: float((np.median if name == "delay_s" else np.mean)([one[name] for one in figures]))
        for name in (figures[0] if figures else {})
    }


def compare(
    name: BenchmarkName, product: Sequence[Outcome], rival: Sequence[Outcome], *, seed: int = 0
) -> list[Comparison]:
    """Differences of the detection and of the false alarm rate, with their 90% intervals.

    Args:
        name: the data set.
        product: outcomes of a line of the product, one a seed.
        rival: those of a rival; it may have fewer seeds.
        seed: decides the draws of the bootstrap.
    """
    if not all(outcome.has_scores for outcome in (*product, *rival)):
        return []
    figures = _PUMP_COMPARED if name == "skab" else _PLANT_COMPARED
    return [
        Comparison(
            product[0].line,
            rival[0].line,
            figure,
            paired_difference(
                np.stack([counted(outcome.judged) for outcome in product]),
                np.stack([counted(outcome.judged) for outcome in rival]),
                of_sums,
                seed=seed,
            ),
        )
        for figure, (counted, of_sums) in figures.items()
    ]


def _counts(judged: Sequence[JudgedRun]) -> Numbers:
    """Rows of each kind, (run, 4)."""
    return np.stack([count_rows(one.run.faulty, one.anomalous) for one in judged])


def _normal(judged: Sequence[JudgedRun]) -> list[JudgedRun]:
    return [one for one in judged if one.run.fault is None]


def _faults(judged: Sequence[JudgedRun]) -> list[JudgedRun]:
    return [one for one in judged if one.run.fault is not None]


def _rates(judged: Sequence[JudgedRun]) -> Numbers:
    """Detection rate of each fault and a 1, so that the mean is a ratio of sums, (fault, 2)."""
    rates = fault_detection_rate(_counts(_faults(judged)))
    return np.stack([rates, np.ones_like(rates)], axis=1)


def _easier_rates(judged: Sequence[JudgedRun]) -> Numbers:
    return _rates([one for one in judged if one.run.fault not in HARD_FAULTS])


def _ratio(sums: Numbers) -> Numbers:
    found: Numbers = sums[..., 0] / sums[..., 1]
    return found


def _normal_counts(judged: Sequence[JudgedRun]) -> Numbers:
    return _counts(_normal(judged))


_PUMP_COMPARED: dict[str, tuple[Counted, OfSums]] = {
    "f1": (_counts, f1_score),
    "far": (_counts, false_alarm_rate),
}
_PLANT_COMPARED: dict[str, tuple[Counted, OfSums]] = {
    "fdr": (_rates, _ratio),
    "fdr_without_3_9_15": (_easier_rates, _ratio),
    "far": (_normal_counts, false_alarm_rate),
}
