"""Freshly simulated plants: the detector beside its linear rivals, over several simulator seeds.

Each folder is a data set of `features.datasets.tep.generate` with a seed of its own. From each one
every detector learns twice, by its default configuration: from all training runs, and from a few
rows of the first. What comes of it goes to the file of results at once, so that a run that was
broken off goes on where it was. `pipelines.benchmark_plant_results` says what is in the file.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from faultwatch_edge.manifest import ThresholdSpec
from features.datasets.tep import RUNS_FILE, SAMPLE_FILES
from models.calibration import CalibrationError
from models.config import ReconstructorName
from pipelines.benchmark import BenchmarkError, check_out
from pipelines.benchmark_data import RULES, BenchmarkData, UnseenRun, load_benchmark
from pipelines.benchmark_figures import Outcome, make_figures
from pipelines.benchmark_methods import JudgedRun, Line
from pipelines.benchmark_plant_results import (
    TITLES,
    make_tables,
    summarise,
    write_markdown,
)
from pipelines.benchmark_results import Results, plain_figures
from pipelines.candidate import git_revision
from pipelines.injected import InjectedFaults
from pipelines.progress import shown_steps
from pipelines.terminal import standard_output

Size = Literal["full", "small"]
"""All training runs, or the first rows of the first."""
SHARES = {"share_1": 0.01, "share_0.1": 0.001}
"""Shares of normal rows that thresholds are set for, by name."""
SMALL_ROWS = 500
"""Rows of one run that make small data: as many as the classical benchmark has."""
MISSING, DRAWS = 8, 5
"""Channels that fall silent, and how often others are drawn."""
INJECTED_CHANNELS = 12
"""Channels of each plant that get a fault of each kind."""


class Trial(Protocol):
    """A fitted detector: `pipelines.trial.Trial`, or what stands in for it in tests."""

    budget: ThresholdSpec

    def by_share(self, far: float) -> float:
        """Threshold for a share of anomalous normal rows."""

    def score(self, samples: pl.DataFrame) -> NDArray[np.float64]:
        """Score of each row, (row,); NaN = not scored."""

    def count_alarms(self, samples: pl.DataFrame, score: NDArray[np.float64]) -> int:
        """Alarms that these scores raise at the threshold of the budget."""

    def count_sensor_events(self, samples: pl.DataFrame) -> int:
        """Events that blame a sensor."""

    def injected(self, samples: pl.DataFrame, count: int) -> tuple[InjectedFaults, ...]:
        """What it finds of faults put into normal running."""


FitTrial = Callable[..., AbstractContextManager[Trial]]
"""The product's path, `pipelines.trial.fitted_trial`, or what stands in for it in tests."""


@dataclass(frozen=True)
class Step:
    """One detector that learns from one folder."""

    folder: Path
    reconstructor: ReconstructorName
    size: Size

    @property
    def name(self) -> str:
        """As in the file of results."""
        return f"{self.reconstructor}.{self.size}"


def run_plant_benchmark(
    folders: Sequence[Path], *, out: Path, fit: FitTrial, console: Console | None = None
) -> Results:
    """Fit and judge every detector on every plant; show the results and keep them.

    Args:
        folders: data sets of `features.datasets.tep.generate`, by seeds of their own.
        out: JSON file of the results, which is gone on with; the tables go beside it as Markdown.
        fit: the product's path.
        console: where tables and progress go.

    Raises:
        BenchmarkError: an option makes no sense, or the file holds other results.
        features.datasets.errors.DatasetError: a folder does not hold a plant.
    """
    check_out(out)
    console = console or standard_output()
    results = _begin(folders, out)
    steps = [
        Step(folder, reconstructor, size)
        for folder in folders
        for reconstructor in TITLES
        for size in get_args(Size)
    ]
    pending = [step for step in steps if step.name not in _done(results, step.folder)]
    with shown_steps(console, len(pending)) as advance:
        for step in pending:
            advance(f"{step.folder.name}: {TITLES[step.reconstructor]}, {step.size} data")
            _done(results, step.folder)[step.name] = _judge(step, fit)
            results["summary"] = summarise(results)
            _write(results, out)
    for table in make_tables(results):
        console.print(table.rich())
    console.print(results["protocol"], soft_wrap=True, markup=False)
    return results


def _done(results: Results, folder: Path) -> Results:
    steps: Results = results["plants"][folder.name]["steps"]
    return steps


def _begin(folders: Sequence[Path], out: Path) -> Results:
    """The results so far, or none; refuses those of other code or other data."""
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise BenchmarkError(f"two folders have the same name among {', '.join(names)}; rename one")
    for folder in folders:
        load_benchmark("tep", folder)  # refused before anything long begins
    fresh: Results = {
        "data_set": "plant",
        "title": "Tennessee Eastman process, plants simulated anew",
        "protocol": _PROTOCOL,
        "version": version("faultwatch"),
        "git_revision": git_revision(),
        "plants": {f.name: {"sha256": _fingerprint(f), "steps": {}} for f in folders},
        "summary": {},
    }
    return _go_on(fresh, out) if out.exists() else fresh


def _go_on(fresh: Results, out: Path) -> Results:
    """What the file holds, with the folders that are new to it."""
    try:
        found: Results = json.loads(out.read_text(encoding="utf-8"))
    except ValueError:
        found = {}
    for key in ("data_set", "version", "git_revision"):
        if found.get(key) != fresh[key]:
            raise BenchmarkError(
                f"'{out}' has {key} {found.get(key)!r}, not {fresh[key]!r}: it cannot be gone on "
                "with; name another --out"
            )
    for name, plant in fresh["plants"].items():
        if found["plants"].get(name, plant)["sha256"] != plant["sha256"]:
            raise BenchmarkError(f"'{out}' knows another plant '{name}'; name another --out")
    return found | {"plants": fresh["plants"] | found["plants"]}


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (RUNS_FILE, *SAMPLE_FILES.values()):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _write(results: Results, out: Path) -> None:
    """All or nothing, so that a run that is broken off leaves a whole file."""
    scratch = out.with_name(out.name + ".new")
    scratch.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    scratch.replace(out)
    write_markdown(results, out.with_suffix(".md"))


def _judge(step: Step, fit: FitTrial) -> Results:
    """Everything that is measured of one detector; a sentence where it refuses to learn."""
    data = load_benchmark("tep", step.folder)
    (case,) = data.cases
    train = case.train if step.size == "full" else case.train.head(SMALL_ROWS)
    began = time.perf_counter()
    options = {"channels": data.channels, "window": data.window, "seed": 0}
    try:
        with fit(train, reconstructor=step.reconstructor, **options) as trial:
            fitted = time.perf_counter()
            found = _try(trial, data)
            if step.size == "full":
                normal = [run.samples for run in case.unseen if run.fault is None]
                found["missing"] = _silence(trial, normal, _moving(train))
                injected = trial.injected(normal[0], INJECTED_CHANNELS)
                found["injected"] = [asdict(one) for one in injected]
    except CalibrationError as error:
        return {"refused": str(error)}
    seconds = {"fit": fitted - began, "all": time.perf_counter() - began}
    return found | {"seconds": {name: round(value, 1) for name, value in seconds.items()}}


def _try(trial: Trial, data: BenchmarkData) -> Results:
    """Figures at each threshold, and what each run of normal running says of the promises."""
    runs = data.cases[0].unseen
    thresholds = {name: trial.by_share(share) for name, share in SHARES.items()}
    thresholds["budget"] = trial.budget.score
    scores = [trial.score(run.samples) for run in runs]
    figures = {}
    for name, threshold in thresholds.items():
        judged = tuple(
            JudgedRun(run, score, threshold) for run, score in zip(runs, scores, strict=True)
        )
        outcome = Outcome(Line(name, name), 0, judged, (), 0.0, has_scores=True)
        figures[name] = plain_figures(make_figures("tep", outcome))
    row_days = data.window.sample_period_s / 86_400.0
    return {
        "thresholds": thresholds,
        "budget": {
            "per_day": trial.budget.false_alarms_per_day,
            "stated_interval_per_day": list(trial.budget.interval_per_day),
            "extrapolated": trial.budget.extrapolated,
        },
        "figures": figures,
        "normal": [
            _normal_run(trial, run, score, thresholds, row_days)
            for run, score in zip(runs, scores, strict=True)
            if run.fault is None
        ],
    }


def _normal_run(
    trial: Trial,
    run: UnseenRun,
    score: NDArray[np.float64],
    thresholds: dict[str, float],
    row_days: float,
) -> Results:
    rows = int(np.isfinite(score).sum())
    return {
        "run": run.name,
        "rows": rows,
        "days": rows * row_days,
        "reached": {name: int((score >= level).sum()) for name, level in thresholds.items()},
        "alarms": trial.count_alarms(run.samples, score),
        "sensor_events": trial.count_sensor_events(run.samples),
    }


def _moving(train: pl.DataFrame) -> list[str]:
    """Channels that are not constant."""
    return [name for name in train.columns if name != "time" and train[name].n_unique() > 1]


def _silence(trial: Trial, normal: Sequence[pl.DataFrame], moving: Sequence[str]) -> list[Results]:
    """Normal running in which some channels have no values, drawn anew each time."""
    threshold = trial.by_share(SHARES["share_1"])
    draws: list[Results] = []
    for draw in range(DRAWS):
        chosen = np.random.default_rng(draw).permutation(len(moving))[:MISSING]
        silent = sorted(moving[place] for place in chosen)
        empty = [pl.lit(None, pl.Float64).alias(name) for name in silent]
        score = np.concatenate([trial.score(run.with_columns(empty)) for run in normal])
        reached = int((score >= threshold).sum())
        rows = int(np.isfinite(score).sum())
        draws.append({"channels": silent, "rows": rows, "reached": reached})
    return draws


_PROTOCOL = (
    "Each plant has a simulator seed of its own, each run of it random numbers of its own. Every "
    "detector learns by its default configuration, training seed 0, from the training runs of a "
    f"plant, and again from the first {SMALL_ROWS} rows of the first of them (small data). {RULES} "
    f"Missing: {MISSING} channels without values, {DRAWS} draws a plant, the 1% threshold left as "
    f"it is. Attribution: faults of 5 standard deviations on each of {INJECTED_CHANNELS} channels "
    "of an unseen normal run, one at a time; a hit is the right channel named by the first alarm "
    "at the budget's threshold, or by an event of its sensor before it."
)
