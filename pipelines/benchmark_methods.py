"""The detectors of a benchmark: the product's, through its own path, and the rivals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.calibration import CalibrationError
from models.config import ReconstructorName
from models.plain_autoencoders import conv_autoencoder, lstm_autoencoder
from models.rival_calibration import fit_calibrated
from models.rivals import Rival, isolation_forest, nearest_neighbours, pca
from pipelines.benchmark_data import BenchmarkData, Case, UnseenRun, uninterrupted
from pipelines.trial import Tried

FAR = 0.01
"""Share of the rows of normal running that may reach a threshold."""
TryDetector = Callable[..., Sequence[Tried]]
"""The product's path, `pipelines.trial.try_detector`, or what stands in for it in tests."""


@dataclass(frozen=True)
class Line:
    """One line of the results: a detector with one of its thresholds."""

    name: str
    """As in files."""
    title: str
    """For people."""
    is_product: bool = False
    """Whether the rivals are compared with it."""


@dataclass(frozen=True)
class JudgedRun:
    """What a line says of a run that it has not seen."""

    run: UnseenRun
    score: NDArray[np.float64]
    """(row,); NaN = not scored."""
    threshold: float

    @property
    def anomalous(self) -> NDArray[np.bool_]:
        """(row,); a row that is not scored is not."""
        return self.score >= self.threshold


Judged = list[list[JudgedRun]]
"""What each line says of each run."""


@dataclass(frozen=True)
class Method:
    """A detector with its lines."""

    lines: tuple[Line, ...]
    judge: Callable[[BenchmarkData, Case, int], Judged]
    """Learns from a case's normal running and judges its runs; the number is the seed."""
    is_seeded: bool = True


def make_methods(data: BenchmarkData, try_detector: TryDetector) -> tuple[Method, ...]:
    """All methods, the product's first; "always alarms" only where there is no normal run."""
    length = data.window.length
    rivals = (
        pca(),
        pca(data.lags),
        isolation_forest(),
        nearest_neighbours(),
        lstm_autoencoder(length),
        conv_autoencoder(length),
    )
    share = f"{FAR:.0%} of rows"
    vae = (
        Line("vae_share", f"VAE, {share}", is_product=True),
        Line("vae_budget", "VAE, default budget", is_product=True),
    )
    linear = (Line("window_pca", "window-PCA, our head"),)
    floor = (Method((Line("always", "always alarms"),), _always, is_seeded=False),)
    return (
        Method(vae, _product(try_detector, "vae")),
        Method(linear, _product(try_detector, "window_pca")),
        *(Method((Line(one.name, one.title),), _rival(one), one.is_seeded) for one in rivals),
        *(floor if data.name == "skab" else ()),
    )


def judge_case(method: Method, data: BenchmarkData, case: Case, seed: int) -> tuple[Judged, str]:
    """Judge the runs of a case; a detector that refuses to learn scores nothing, and says why."""
    try:
        return method.judge(data, case, seed), ""
    except CalibrationError as error:
        silent = [JudgedRun(run, np.full(len(run.faulty), np.nan), np.inf) for run in case.unseen]
        return [silent for _ in method.lines], f"{case.name}: {error}"


def _product(
    try_detector: TryDetector, reconstructor: ReconstructorName
) -> Callable[[BenchmarkData, Case, int], Judged]:
    def judge(data: BenchmarkData, case: Case, seed: int) -> Judged:
        tried = try_detector(
            case.train,
            [run.samples for run in case.unseen],
            channels=data.channels,
            window=data.window,
            reconstructor=reconstructor,
            far=FAR,
            seed=seed,
        )
        pairs = list(zip(case.unseen, tried, strict=True))
        by_share = [JudgedRun(run, found.score, found.by_share) for run, found in pairs]
        by_budget = [JudgedRun(run, found.score, found.by_budget) for run, found in pairs]
        return [by_share, by_budget] if reconstructor == "vae" else [by_share]

    return judge


def _rival(rival: Rival) -> Callable[[BenchmarkData, Case, int], Judged]:
    def judge(data: BenchmarkData, case: Case, seed: int) -> Judged:
        fitted = fit_calibrated(
            rival,
            uninterrupted(case.train, data.channels, data.window),
            far=FAR,
            embargo=data.window.length,
            seed=seed,
        )
        judged = []
        for run in case.unseen:
            parts = uninterrupted(run.samples, data.channels, data.window)
            score = np.concatenate([fitted.score(part) for part in parts])
            judged.append(JudgedRun(run, score, fitted.threshold))
        return [judged]

    return judge


def _always(data: BenchmarkData, case: Case, seed: int) -> Judged:
    """Alarm in every row: what a detector must beat."""
    del data, seed
    return [[JudgedRun(run, np.zeros(len(run.faulty)), 0.0) for run in case.unseen]]
