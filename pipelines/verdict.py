"""Figures of an evaluation in the form that people compare: metrics, tables, a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from statistics import median

import polars as pl

from faultwatch_edge.certificate import Certificate, DetectionLimit
from faultwatch_edge.manifest import ThresholdSpec
from features.remarks import in_share
from pipelines.injected import InjectedFaults
from pipelines.promise import Promise
from pipelines.replay import Evaluation

HEADS = (
    "detector",
    "false alarms a day (90%)",
    "promised",
    "anomalous (90%)",
    "faults found",
    "median delay",
    "injected found",
)


@dataclass(frozen=True)
class Scorecard:
    """All that one bundle achieved."""

    name: str
    """``vae``, ``window_pca``, ``pca`` or ``champion``."""
    threshold: ThresholdSpec
    evaluation: Evaluation
    injected: tuple[InjectedFaults, ...]

    @property
    def promise(self) -> Promise:
        """What its threshold promises."""
        return Promise(self.threshold)

    @property
    def median_delay_h(self) -> float:
        """Median delay of the labelled faults that were found, in hours."""
        delays = [fault.delay_s for fault in self.evaluation.faults if fault.delay_s is not None]
        return median(delays) / 3600 if delays else float("nan")

    @property
    def injected_found_share(self) -> float:
        """Share of the injected faults that were found."""
        tried = sum(kind.tried for kind in self.injected)
        return sum(kind.found for kind in self.injected) / tried if tried else float("nan")


def metrics_of(card: Scorecard) -> dict[str, float]:
    """Figures of a scorecard under the names that MLflow shows."""
    threshold, normal = card.threshold, card.evaluation.normal
    promise = card.promise
    metrics = {
        "threshold": threshold.score,
        "false_alarms.budget_per_day": threshold.false_alarms_per_day,
        "false_alarms.crossfit_per_day": threshold.expected_per_day,
        "false_alarms.crossfit_low": threshold.interval_per_day[0],
        "false_alarms.crossfit_high": threshold.interval_per_day[1],
        "false_alarms.crossfit_days": threshold.scored_days,
        "false_alarms.extrapolated": float(threshold.extrapolated),
        "false_alarms.held_out_per_day": normal.per_day,
        "false_alarms.held_out_low": normal.interval_per_day[0],
        "false_alarms.held_out_high": normal.interval_per_day[1],
        "false_alarms.held_out_days": normal.days,
        "anomalous_share.held_out_normal": normal.anomalous_share,
        "anomalous_share.held_out_low": normal.share_interval[0],
        "anomalous_share.held_out_high": normal.share_interval[1],
        "promise.inside": float(promise.is_inside(normal)) if normal.days else float("nan"),
        "promise.days_to_support": promise.days_to_support,
        "promise.days_to_check": promise.days_to_check(normal),
        "faults.found_share": card.evaluation.found_share,
        "faults.median_delay_h": card.median_delay_h,
        "injected.found_share": card.injected_found_share,
    }
    for kind in card.injected:
        metrics[f"injected.{kind.kind}.found_share"] = kind.found / kind.tried
        metrics[f"injected.{kind.kind}.first_hit_share"] = kind.first_hits / kind.tried
        if kind.median_delay_s is not None:
            metrics[f"injected.{kind.kind}.median_delay_h"] = kind.median_delay_s / 3600
    return metrics


def run_metrics(
    cards: Sequence[Scorecard],
    certificate: Certificate | None,
    champion: Scorecard | None = None,
) -> dict[str, float]:
    """Metrics of a run: of the detector, its certificate and its rivals, and the champion's.

    Args:
        cards: the detector's, then those of its rivals.
        certificate: the detector's.
        champion: judged on the same samples.
    """
    beside = (
        {f"champion.{key}": value for key, value in metrics_of(champion).items()}
        if champion
        else {}
    )
    return {**metrics_of(cards[0]), **certificate_metrics(certificate), **beside, **flat(cards[1:])}


def fault_table(cards: Sequence[Scorecard]) -> pl.DataFrame:
    """One row a labelled fault: delay in minutes of each bundle, and whom the first one blames."""
    first = cards[0]
    rows = []
    for place, fault in enumerate(first.evaluation.faults):
        delays = {
            f"{card.name}, min": _minutes(card.evaluation.faults[place].delay_s) for card in cards
        }
        rows.append(
            {"fault": fault.name, **delays, "contributors": ", ".join(fault.contributors[:3])}
        )
    return pl.DataFrame(rows)


def injected_table(cards: Sequence[Scorecard]) -> pl.DataFrame:
    """One row a kind of injected fault and bundle."""
    return pl.DataFrame(
        [
            {
                "kind": kind.kind,
                "detector": card.name,
                "found": f"{kind.found} of {kind.tried}",
                "median delay, min": _minutes(kind.median_delay_s),
                "right channel first": f"{kind.first_hits} of {kind.tried}",
            }
            for card in cards
            for kind in card.injected
        ]
    )


def tables_of(
    cards: Sequence[Scorecard],
    certificate: Certificate | None,
    champions: Certificate | None = None,
) -> dict[str, pl.DataFrame]:
    """Tables of a run by name: labelled and injected faults, and the certificate if there is one.

    Args:
        cards: the detector's, then those that it is compared with.
        certificate: the detector's.
        champions: the champion's, of its own training.
    """
    tables = {"faults": fault_table(cards), "injected_faults": injected_table(cards)}
    if certificate is not None:
        tables["certificate"] = certificate_table(certificate, champions)
    return tables


def certificate_table(
    certificate: Certificate, champions: Certificate | None = None
) -> pl.DataFrame:
    """One row a channel and kind: the smallest fault that is found, and under which rule."""
    theirs = {} if champions is None else _smallest(champions)
    within = f"median delay, min (within {certificate.within_s / 60:g})"
    tried = f"found at so many of {certificate.onsets} onsets ({certificate.needed} needed)"
    limits = [
        {
            "channel": limit.channel,
            "kind": limit.kind,
            "found": limit.is_found,
            "size": limit.size,
            "unit": limit.unit,
            "standard deviations": limit.deviations,
            within: _minutes(limit.median_delay_s),
            tried: limit.found,
            "smallest": limit_text(certificate, limit),
            **({"champion's smallest": theirs.get((limit.channel, limit.kind))} if theirs else {}),
        }
        for limit in certificate.limits
    ]
    left_out = [
        {"channel": one.channel, "smallest": f"not certified, {one.reason}"}
        for one in certificate.uncertified
    ]
    return pl.DataFrame([*limits, *left_out], infer_schema_length=None)


def _smallest(certificate: Certificate) -> dict[tuple[str, str], str]:
    return {(one.channel, one.kind): limit_text(certificate, one) for one in certificate.limits}


def limit_text(certificate: Certificate, limit: DetectionLimit) -> str:
    """The smallest size that is found, in standard deviations, in a few characters."""
    if limit.deviations is not None:
        size = f"{limit.deviations:.2g}"
        return (
            f"\N{LESS-THAN OR EQUAL TO} {size}"
            if limit.deviations <= certificate.smallest
            else size
        )
    if limit.is_found:
        return "found"
    return f"> {certificate.largest:g}" if limit.has_size else "not found"


def certificate_metrics(certificate: Certificate | None) -> dict[str, float]:
    """Figures of a certificate under the names that MLflow shows."""
    if certificate is None:
        return {}
    metrics = {
        "certificate.within_h": certificate.within_s / 3600,
        "certificate.onsets": float(certificate.onsets),
        "certificate.untouched_alarms_per_day": certificate.realised_per_day,
    }
    for kind in dict.fromkeys(limit.kind for limit in certificate.limits):
        of_kind = [limit for limit in certificate.limits if limit.kind == kind]
        sizes = [limit.deviations for limit in of_kind if limit.deviations is not None]
        found = sum(limit.is_found for limit in of_kind)
        metrics[f"certificate.{kind}.found_share"] = found / len(of_kind)
        if sizes:
            metrics[f"certificate.{kind}.median_sd"] = median(sizes)
    return metrics


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds / 60, 1)


def describe(cards: Sequence[Scorecard], champion: Scorecard | None) -> str:
    """The note at the top of the MLflow run: better or not, and by which figures.

    Args:
        cards: the challenger's, then those of its rivals.
        champion: judged on the same samples; None where there is none.
    """
    others = [*([champion] if champion else []), *cards[1:]]
    everyone = [cards[0], *others]
    verdicts = [_compared(cards[0], other) for other in others]
    lines = [
        f"**{' '.join(verdicts if champion else ['No champion yet.', *verdicts])}**",
        "",
        f"{'; '.join(map(_in_brief, everyone))}.",
        "",
        f"{cards[0].promise.says()} {cards[0].promise.realised(cards[0].evaluation.normal)}",
        "",
        f"| {' | '.join(HEADS)} |",
        f"|{' --- |' * len(HEADS)}",
    ]
    return "\n".join(lines + [_row(card) for card in everyone])


def _in_brief(card: Scorecard) -> str:
    faults = card.evaluation.faults
    found = sum(fault.delay_s is not None for fault in faults)
    return (
        f"{card.name}: {found} of {len(faults)} faults, {card.injected_found_share:.0%} of the "
        f"injected, {card.evaluation.normal.per_day:.2f} false alarms a day"
    )


def _compared(card: Scorecard, other: Scorecard) -> str:
    """Better, worse or neither, by faults found, injected faults found and false alarms."""
    found, theirs = card.evaluation.found_share, other.evaluation.found_share
    injected, theirs_injected = card.injected_found_share, other.injected_found_share
    alarms, theirs_alarms = card.evaluation.normal.per_day, other.evaluation.normal.per_day
    no_worse = (
        _no_less(found, theirs)
        and _no_less(injected, theirs_injected)
        and _no_less(theirs_alarms, alarms)
    )
    no_better = (
        _no_less(theirs, found)
        and _no_less(theirs_injected, injected)
        and _no_less(alarms, theirs_alarms)
    )
    word = {(True, True): "As good as", (True, False): "Better than", (False, True): "Worse than"}
    return f"{word.get((no_worse, no_better), 'Neither better nor worse than')} {other.name}."


def _no_less(value: float, other: float) -> bool:
    return isnan(value) or isnan(other) or value >= other


def _row(card: Scorecard) -> str:
    normal, faults = card.evaluation.normal, card.evaluation.faults
    injected = f"{card.injected_found_share:.0%}"
    found = sum(fault.delay_s is not None for fault in faults)
    low, high = normal.interval_per_day
    least, most = (in_share(limit) for limit in normal.share_interval)
    delay = "-" if isnan(card.median_delay_h) else f"{card.median_delay_h:.1f} h"
    share = "-" if isnan(normal.anomalous_share) else in_share(normal.anomalous_share)
    return (
        f"| {card.name} | {normal.per_day:.2f} ({low:.2f} to {high:.2f}) "
        f"| {card.promise.rate:g}: {card.promise.verdict(normal)} | {share} ({least} to {most}) "
        f"| {found} of {len(faults)} | {delay} | {injected} |"
    )


def flat(rivals: Sequence[Scorecard]) -> dict[str, float]:
    """Metrics of the rivals, each under its own name."""
    return {
        f"rival.{card.name}.{key}": value
        for card in rivals
        for key, value in metrics_of(card).items()
    }
