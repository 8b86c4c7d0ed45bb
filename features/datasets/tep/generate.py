"""Simulate the demo plant and write its data set.

Run as ``python -m features.datasets.tep.generate --seed 1 --out DIR``. Needs the extra
``simulator``; the same seed and the same options give the same samples. Without options the data
are those that come with the package; with ``--fault-runs 3 --held-out-runs 20 --held-out-hours 72``
they suffice to measure a detector, and with ``--mode moving`` the plant's set-points move.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
import polars.selectors as cs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from features.datasets.tep import (
    LABELS_FILE,
    RUNS_FILE,
    SAMPLE_FILES,
    SAMPLE_PERIOD,
    Run,
)
from features.datasets.tep.plan import BUNDLED, FAULTS, Campaign, Size, plan_campaigns

logger = logging.getLogger(__name__)

CONTROL_STEP_H: Final = 0.0005
"""Control and integration step, in hours, as in the simulator's reference controller."""
CONTROL_STEP: Final = timedelta(milliseconds=1800)
"""The same step as a duration."""
ONSET: Final = timedelta(hours=8)
"""Normal running at the beginning of each fault run."""
WARM_UP: Final = timedelta(hours=48)
"""Running before each run's start, not recorded: the initial state settles for a day."""
SIGNIFICANT_DIGITS: Final = 5
"""Precision of the published Tennessee Eastman files."""
COARSE: Final = 5
"""Control steps that a quick warm-up takes at once."""
FINE_AGAIN: Final = timedelta(hours=12)
"""Single control steps at the end of a quick warm-up: until then the feeds are off their level."""
HELD: Final = timedelta(hours=4)
"""Time from one move of a set-point to the next, of another or the same."""
SET_POINT_SPANS: Final = {
    "reactor_level": 5.0,  # %
    "reactor_pressure": 40.0,  # kPa
    "reactor_temperature": 0.6,  # degC
    "separator_level": 8.0,  # %
    "stripper_level": 8.0,  # %
    "production_rate": 1.2,  # m3/h
    "pct_g": 4.0,  # mol% G in the product
}
"""How far each set-point of the controller moves from its value at the start, at most."""

Mode = Literal["single", "moving"]
"""Whether the set-points stay where they are, or move at random."""
Numbers = npt.NDArray[np.float64]
Result = tuple[Run, Numbers]
"""A run as it went, and its samples (sample, channel)."""


class SimulatorMissingError(ImportError):
    """The simulator is not installed."""


def load_simulator() -> Any:  # noqa: ANN401  # vendor boundary: tep_studio has no types
    """Module of the simulator, or an error that says how to install it."""
    try:
        return import_module("tep_studio")
    except ImportError as error:
        msg = "The simulator tep-studio is not installed; run `pip install -e '.[simulator]'`."
        raise SimulatorMissingError(msg) from error


def make_kernel_seed(seed: int, campaign: int, number: int) -> int:
    """Seed of one run's random numbers, for the measurement noise and the random disturbances.

    The simulator draws by g <- 9228907 g mod 2^32 in double precision. Zero gives no noise, and
    most numbers are rounded into short cycles: from 5 the noise repeats after half a day. From 8
    times an odd number the product is exact and the cycle the longest, 2^27 draws (a week).

    Example:
        >>> make_kernel_seed(1, campaign=0, number=1) % 16
        8
    """
    word = int(np.random.SeedSequence([seed, campaign, number]).generate_state(1)[0])
    return (word & ~7) | 8


def plan_runs(seed: int, size: Size = BUNDLED) -> tuple[Run, ...]:
    """All runs, in order of time, as they go where nothing shuts the plant down."""
    descriptions = [variable.description for variable in load_simulator().TEP_SCHEMA.disturbances]
    return tuple(
        _plan_run(campaign, number, make_kernel_seed(seed, index, number), descriptions)
        for index, campaign in enumerate(plan_campaigns(size))
        for number in range(1, campaign.runs + 1)
    )


def _plan_run(campaign: Campaign, number: int, seed: int, descriptions: Sequence[str]) -> Run:
    start = campaign.first_start + (number - 1) * campaign.spacing
    run = Run(
        run=f"{campaign.prefix}_{number:02d}",
        kind=campaign.kind,
        seed=seed,
        start=start,
        end=start + campaign.duration,
    )
    if campaign.kind != "fault":
        return run
    repetition, disturbance = (number - 1) // FAULTS + 1, (number - 1) % FAULTS + 1
    suffix = f"_{repetition}" if repetition > 1 else ""
    return replace(
        run,
        run=f"{campaign.prefix}_{disturbance:02d}{suffix}",
        disturbance=disturbance,
        description=descriptions[disturbance - 1],
        onset=start + ONSET,
    )


def simulate_run(
    run: Run, *, mode: Mode = "single", warm_up: timedelta = WARM_UP, quick: bool = False
) -> Result:
    """The plant under its reference controller, until the run's end or until it shuts down.

    Args:
        run: what to simulate.
        mode: whether set-points move, from the beginning of the warm-up on.
        warm_up: normal running before the run's start, which is not recorded.
        quick: take the warm-up, but for its last twelve hours, in steps of `COARSE` control steps.

    Returns:
        The run as it went, and its samples (sample, channel): measurements at the end of every
        hundredth control step, then the action that was in force during that step.
    """
    simulator = load_simulator()
    plant, controller = simulator.TennesseeEastmanProcess(), simulator.RickerMultiLoopController()
    measurements, _ = plant.reset(mode="mode1", seed=float(run.seed))
    controller.reset(measurements, time=plant.time)
    first = 1 - warm_up // CONTROL_STEP
    moves = _set_point_moves(controller, run.seed, first) if mode == "moving" else None
    samples: list[Numbers] = []
    for step, steps in _strides(first, (run.end - run.start) // CONTROL_STEP, quick=quick):
        if moves is not None:
            controller.setpoints = moves(step)
        action, _ = controller.compute_action(measurements, time=plant.time)
        result = plant.advance(
            action,
            control_interval=steps * CONTROL_STEP_H,
            disturbances=_disturbances(run, step),
        )
        if result.shutdown_status["terminated"]:
            run = _shut_down(run, after=step * CONTROL_STEP)
            break
        measurements = result.measurements
        if step > 0 and step % (SAMPLE_PERIOD // CONTROL_STEP) == 0:
            samples.append(np.concatenate([measurements, result.implemented_action]))
    return run, np.stack(samples)


def _strides(first: int, last: int, *, quick: bool) -> Iterator[tuple[int, int]]:
    """The last control step of each advance, the run's first being 1, and how many it takes."""
    fine = first
    if quick:
        coarse = max(0, (1 - FINE_AGAIN // CONTROL_STEP - first) // COARSE)
        fine = first + coarse * COARSE
        yield from ((step, COARSE) for step in range(first + COARSE - 1, fine, COARSE))
    yield from ((step, 1) for step in range(fine, last + 1))


def _set_point_moves(controller: Any, seed: int, first: int) -> Callable[[int], Any]:  # noqa: ANN401  # vendor boundary
    """Set-points in each control step: now and then one of them, by lot, takes a new level."""
    generator = np.random.default_rng([seed, 1])
    start, names, held = controller.setpoints, list(SET_POINT_SPANS), HELD // CONTROL_STEP
    current, due = start, first

    def at(step: int) -> Any:  # noqa: ANN401  # vendor boundary
        nonlocal current, due
        while step >= due:
            name = names[generator.integers(len(names))]
            level = getattr(start, name) + SET_POINT_SPANS[name] * generator.uniform(-1.0, 1.0)
            current, due = replace(current, **{name: level}), due + held
        return current

    return at


def _disturbances(run: Run, step: int) -> Numbers:
    """Activation of the 28 disturbances in a control step."""
    active = np.zeros(len(load_simulator().TEP_SCHEMA.disturbances))
    began = run.onset is not None and run.start + (step - 1) * CONTROL_STEP >= run.onset
    if run.disturbance is not None and began:
        active[run.disturbance - 1] = 1.0
    return active


def _shut_down(run: Run, *, after: timedelta) -> Run:
    """The run cut at a shutdown; a sample at that very instant is not taken."""
    whole_samples = (after - CONTROL_STEP) // SAMPLE_PERIOD
    return replace(
        run, end=run.start + whole_samples * SAMPLE_PERIOD, shutdown_at=run.start + after
    )


def make_samples(run: Run, values: Numbers, names: Sequence[str]) -> pl.DataFrame:
    """Samples frame of one run, rounded to five significant digits."""
    times = pl.datetime_range(
        run.start + SAMPLE_PERIOD, run.end, SAMPLE_PERIOD, time_unit="us", eager=True
    )
    channels = pl.DataFrame(values, schema=dict.fromkeys(names, pl.Float64))
    return channels.select(times.alias("time"), cs.float().round_sig_figs(SIGNIFICANT_DIGITS))


def simulate_runs(
    runs: Sequence[Run], *, workers: int, mode: Mode = "single", quick: bool = False
) -> list[Result]:
    """Every run, in order of time, with a bar of progress, or a line each without a terminal."""
    results: list[Result] = []
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        _progress(len(runs)) as advance,
    ):
        pending = [pool.submit(simulate_run, run, mode=mode, quick=quick) for run in runs]
        for future in as_completed(pending):
            run, values = future.result()
            results.append((run, values))
            note = f", shut down after {run.shutdown_at - run.start}" if run.shutdown_at else ""
            advance(f"{run.run}, {len(values)} samples{note}")
    return sorted(results, key=lambda result: result[0].start)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """Takes a sentence on each run that is done."""
    if not sys.stderr.isatty():
        done = iter(range(1, total + 1))
        yield lambda sentence: logger.info("%d of %d: %s", next(done), total, sentence)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    words = TextColumn("{task.description}", markup=False)
    with Progress(*columns, words, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda sentence: progress.update(task, description=sentence, advance=1)


def write_dataset(results: Sequence[Result], names: Sequence[str], folder: Path) -> None:
    """Write the three files of samples and the table of runs."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, name in SAMPLE_FILES.items():
        samples = pl.concat(
            make_samples(run, values, names) for run, values in results if run.kind == kind
        )
        samples.write_parquet(
            folder / name, compression="zstd", compression_level=19, row_group_size=len(samples)
        )
    rows = [{key: _text(value) for key, value in asdict(run).items()} for run, _ in results]
    pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.String)).write_csv(folder / RUNS_FILE)
    labels = [_label(run) for run, _ in results if run.onset]
    pl.DataFrame(labels, schema=dict.fromkeys(labels[0], pl.String)).write_csv(folder / LABELS_FILE)


def _label(run: Run) -> dict[str, str | None]:
    """The fault of a run as an interval: from its onset to the first sample that is not there."""
    return {
        "start": _text(run.onset),
        "end": _text(run.end + SAMPLE_PERIOD),
        "kind": "fault",
        "note": f"{run.disturbance}: {run.description}",
    }


def _text(value: str | int | datetime | None) -> str | None:
    if value is None or value == "":
        return None
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Simulate the demo plant and write its data set.")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same samples")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument(
        "--mode", default="single", choices=get_args(Mode), help="moving: set-points move at random"
    )
    for field in fields(Size):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=int, default=field.default, help=f"{field.default}")
    parser.add_argument("--quick", action="store_true", help="warm up in steps of 9 s, not 1.8 s")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    schema = load_simulator().TEP_SCHEMA
    names = [*schema.names("measurements"), *schema.names("manipulated_variables")]
    size = Size(**{field.name: getattr(options, field.name) for field in fields(Size)})
    results = simulate_runs(
        plan_runs(options.seed, size),
        workers=options.workers,
        mode=options.mode,
        quick=options.quick,
    )
    write_dataset(results, names, options.out)


if __name__ == "__main__":
    main()
