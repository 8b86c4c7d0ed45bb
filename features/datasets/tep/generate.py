"""Simulate the demo plant and write its data set.

Run as ``python -m features.datasets.tep.generate --seed 1 --out DIR``. Needs the extra
``simulator``; the same seed gives the same samples.
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import polars.selectors as cs

from features.datasets.tep import (
    LABELS_FILE,
    RUNS_FILE,
    SAMPLE_FILES,
    SAMPLE_PERIOD,
    Kind,
    Run,
)

logger = logging.getLogger(__name__)

CONTROL_STEP_H: Final = 0.0005
"""Control and integration step, in hours, as in the simulator's reference controller."""
CONTROL_STEP: Final = timedelta(milliseconds=1800)
"""The same step as a duration."""
FAULTS: Final = 20
"""Disturbances of Downs and Vogel, one run each."""
ONSET: Final = timedelta(hours=8)
"""Normal running at the beginning of each fault run."""
WARM_UP: Final = timedelta(hours=48)
"""Running before each run's start, not recorded: the initial state settles for a day."""
SIGNIFICANT_DIGITS: Final = 5
"""Precision of the published Tennessee Eastman files."""


@dataclass(frozen=True)
class Campaign:
    """Runs of one kind, one after another with silence between them."""

    kind: Kind
    prefix: str
    runs: int
    first_start: datetime
    spacing: timedelta
    duration: timedelta


CAMPAIGNS: Final = (
    Campaign(
        kind="train",
        prefix="train",
        runs=20,
        first_start=datetime(2026, 1, 1, tzinfo=UTC),
        spacing=timedelta(days=4),
        duration=timedelta(hours=72),
    ),
    Campaign(
        kind="held_out",
        prefix="held_out",
        runs=6,
        first_start=datetime(2026, 4, 1, tzinfo=UTC),
        spacing=timedelta(days=2),
        duration=timedelta(hours=24),
    ),
    Campaign(
        kind="fault",
        prefix="idv",
        runs=FAULTS,
        first_start=datetime(2026, 5, 1, tzinfo=UTC),
        spacing=timedelta(days=2),
        duration=timedelta(hours=24),
    ),
)


class SimulatorMissingError(ImportError):
    """The simulator is not installed."""


def load_simulator() -> Any:  # noqa: ANN401  # vendor boundary: tep_studio has no types
    """Module of the simulator, or an error that says how to install it."""
    try:
        return import_module("tep_studio")
    except ImportError as error:
        msg = (
            "The simulator tep-studio is not installed; run `pip install 'faultwatch[simulator]'`."
        )
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


def plan_runs(seed: int) -> tuple[Run, ...]:
    """All runs, in order of time, as they go where nothing shuts the plant down."""
    descriptions = [variable.description for variable in load_simulator().TEP_SCHEMA.disturbances]
    return tuple(
        _plan_run(campaign, number, make_kernel_seed(seed, index, number), descriptions)
        for index, campaign in enumerate(CAMPAIGNS)
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
    return replace(
        run, disturbance=number, description=descriptions[number - 1], onset=start + ONSET
    )


def simulate_run(run: Run, *, warm_up: timedelta = WARM_UP) -> tuple[Run, npt.NDArray[np.float64]]:
    """The plant under its reference controller, until the run's end or until it shuts down.

    Args:
        run: what to simulate.
        warm_up: normal running before the run's start, which is not recorded.

    Returns:
        The run as it went, and its samples (sample, channel): measurements at the end of every
        hundredth control step, then the action that was in force during that step.
    """
    simulator = load_simulator()
    plant, controller = simulator.TennesseeEastmanProcess(), simulator.RickerMultiLoopController()
    measurements, _ = plant.reset(mode="mode1", seed=float(run.seed))
    controller.reset(measurements, time=plant.time)
    samples: list[npt.NDArray[np.float64]] = []
    first = 1 - warm_up // CONTROL_STEP
    for step, disturbances in enumerate(_disturbances(run, first), start=first):
        action, _ = controller.compute_action(measurements, time=plant.time)
        result = plant.advance(action, control_interval=CONTROL_STEP_H, disturbances=disturbances)
        if result.shutdown_status["terminated"]:
            run = _shut_down(run, after=step * CONTROL_STEP)
            break
        measurements = result.measurements
        if step > 0 and step % (SAMPLE_PERIOD // CONTROL_STEP) == 0:
            samples.append(np.concatenate([measurements, result.implemented_action]))
    return run, np.stack(samples)


def _disturbances(run: Run, first: int) -> Iterator[npt.NDArray[np.float64]]:
    """Activation of the 28 disturbances in each control step, from number ``first`` to the end."""
    none = np.zeros(len(load_simulator().TEP_SCHEMA.disturbances))
    active = none.copy()
    if run.disturbance is not None:
        active[run.disturbance - 1] = 1.0
    for step in range(first - 1, (run.end - run.start) // CONTROL_STEP):
        began = run.onset is not None and run.start + step * CONTROL_STEP >= run.onset
        yield active if began else none


def _shut_down(run: Run, *, after: timedelta) -> Run:
    """The run cut at a shutdown; a sample at that very instant is not taken."""
    whole_samples = (after - CONTROL_STEP) // SAMPLE_PERIOD
    return replace(
        run, end=run.start + whole_samples * SAMPLE_PERIOD, shutdown_at=run.start + after
    )


def make_samples(run: Run, values: npt.NDArray[np.float64], names: Sequence[str]) -> pl.DataFrame:
    """Samples frame of one run, rounded to five significant digits."""
    times = pl.datetime_range(
        run.start + SAMPLE_PERIOD, run.end, SAMPLE_PERIOD, time_unit="us", eager=True
    )
    channels = pl.DataFrame(values, schema=dict.fromkeys(names, pl.Float64))
    return channels.select(times.alias("time"), cs.float().round_sig_figs(SIGNIFICANT_DIGITS))


def simulate_runs(
    runs: Sequence[Run], *, workers: int
) -> list[tuple[Run, npt.NDArray[np.float64]]]:
    """Every run, in order of time, with one line of progress each."""
    results = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(simulate_run, run) for run in runs]):
            run, values = future.result()
            results.append((run, values))
            note = f", shut down after {run.shutdown_at - run.start}" if run.shutdown_at else ""
            logger.info(
                "%d of %d: %s, %d samples%s", len(results), len(runs), run.run, len(values), note
            )
    return sorted(results, key=lambda result: result[0].start)


def write_dataset(
    results: Sequence[tuple[Run, npt.NDArray[np.float64]]], names: Sequence[str], folder: Path
) -> None:
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
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    schema = load_simulator().TEP_SCHEMA
    names = [*schema.names("measurements"), *schema.names("manipulated_variables")]
    results = simulate_runs(plan_runs(options.seed), workers=options.workers)
    write_dataset(results, names, options.out)


if __name__ == "__main__":
    main()
