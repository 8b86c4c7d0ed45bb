import sys
from collections import Counter
from dataclasses import astuple, make_dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import polars.testing
import pytest

from features.datasets.tep import (
    RUNS_FILE,
    SAMPLE_FILES,
    SAMPLE_PERIOD,
    Kind,
    Run,
    dataset_folder,
    generate,
    load_runs,
    load_samples,
)
from features.datasets.tep.plan import Size

Floats = npt.NDArray[np.float64]
Samples = dict[Kind, pl.DataFrame]
KINDS: tuple[Kind, ...] = ("train", "held_out", "fault")
HOURS = {"train": 72, "held_out": 24, "fault": 24}


@pytest.fixture(scope="module")
def samples() -> Samples:
    return {kind: load_samples(kind) for kind in KINDS}


def samples_of(run: Run, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("time") > run.start, pl.col("time") <= run.end)


def test_files_take_at_most_eight_megabytes() -> None:
    files = [*SAMPLE_FILES.values(), RUNS_FILE]
    assert sum((dataset_folder() / name).stat().st_size for name in files) <= 8_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_utc_time_and_the_same_53_channels(kind: Kind, samples: Samples) -> None:
    frame = samples[kind]
    assert frame.columns == samples["train"].columns
    assert frame.width == 1 + 53
    assert frame.schema["time"] == pl.Datetime("us", "UTC")
    assert set(frame.drop("time").dtypes) == {pl.Float64}


@pytest.mark.parametrize("kind", KINDS)
def test_times_are_sorted_and_unique_and_no_value_is_missing(kind: Kind, samples: Samples) -> None:
    frame = samples[kind]
    assert frame["time"].is_sorted()
    assert frame["time"].is_unique().all()
    assert frame.null_count().sum_horizontal().item() == 0
    assert np.isfinite(frame.drop("time").to_numpy()).all()


@pytest.mark.parametrize("kind", KINDS)
def test_values_have_five_significant_digits(kind: Kind, samples: Samples) -> None:
    values = samples[kind].drop("time")
    polars.testing.assert_frame_equal(
        values, values.select(pl.all().round_sig_figs(5)), check_exact=True
    )


def test_there_are_20_training_6_held_out_and_20_fault_runs_in_order_of_time() -> None:
    runs = load_runs()
    assert Counter(run.kind for run in runs) == {"train": 20, "held_out": 6, "fault": 20}
    assert [run.disturbance for run in runs if run.kind == "fault"] == list(range(1, 21))
    assert all(earlier.end < later.start for earlier, later in pairwise(runs))
    assert len({run.run for run in runs}) == 46


def test_every_run_has_random_numbers_of_its_own() -> None:
    assert len({run.seed for run in load_runs()}) == 46


@pytest.mark.parametrize("run", load_runs(), ids=lambda run: run.run)
def test_run_is_sampled_every_three_minutes_from_midnight_to_its_end(
    run: Run, samples: Samples
) -> None:
    times = samples_of(run, samples[run.kind])["time"]
    assert run.start.tzinfo is not None
    assert run.start.time() == datetime.min.time()
    assert times[0] == run.start + SAMPLE_PERIOD
    assert times[-1] == run.end
    assert set(times.diff().drop_nulls()) == {SAMPLE_PERIOD}


@pytest.mark.parametrize("kind", KINDS)
def test_no_sample_lies_outside_the_runs(kind: Kind, samples: Samples) -> None:
    inside = [samples_of(run, samples[kind]).height for run in load_runs() if run.kind == kind]
    assert sum(inside) == samples[kind].height


@pytest.mark.parametrize("run", load_runs(), ids=lambda run: run.run)
def test_run_lasts_as_planned_unless_the_plant_shut_down(run: Run) -> None:
    planned = timedelta(hours=HOURS[run.kind])
    if run.shutdown_at is None:
        assert run.end - run.start == planned
    else:
        assert run.end < run.shutdown_at <= run.end + SAMPLE_PERIOD
        assert run.shutdown_at < run.start + planned


@pytest.mark.parametrize("run", load_runs(), ids=lambda run: run.run)
def test_only_fault_runs_have_a_disturbance_and_it_begins_eight_hours_in(run: Run) -> None:
    if run.kind == "fault":
        assert run.onset == run.start + timedelta(hours=8)
        assert run.onset < run.end
        assert run.description
    else:
        assert (run.onset, run.disturbance, run.description) == (None, None, "")
        assert run.shutdown_at is None


def test_missing_data_set_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no runs\.csv; make the data set"):
        load_runs(tmp_path)


def test_written_data_set_is_read_back_unchanged(tmp_path: Path) -> None:
    runs = tuple(next(run for run in load_runs() if run.kind == kind) for kind in KINDS)
    frames = {run.kind: samples_of(run, load_samples(run.kind)) for run in runs}
    names = frames["train"].columns[1:]
    results = [(run, frames[run.kind].select(names).to_numpy()) for run in runs]
    generate.write_dataset(results, names, tmp_path)
    assert load_runs(tmp_path) == runs
    for kind, frame in frames.items():
        polars.testing.assert_frame_equal(load_samples(kind, tmp_path), frame, check_exact=True)


class CountingPlant:
    """Stands in for the simulator: measures its own step number, shuts down when told."""

    def __init__(self, *, shutdown_step: int = 10**9) -> None:
        self.shutdown_step = shutdown_step
        self.step = 0
        self.time = 0.0
        self.advances = 0
        self.disturbed_steps: list[int] = []

    def reset(self, *, mode: str, seed: float) -> tuple[Floats, dict[str, object]]:
        self.step, self.time = 0, 0.0
        return np.zeros(1), {"mode": mode, "seed": seed}

    def advance(
        self, action: Floats, *, control_interval: float, disturbances: Floats
    ) -> SimpleNamespace:
        assert len(action) == 1
        self.advances += 1
        self.time += control_interval
        self.step = round(self.time / generate.CONTROL_STEP_H)
        if disturbances[3]:
            self.disturbed_steps.append(self.step)
        return SimpleNamespace(
            measurements=np.array([self.step / 100]),
            implemented_action=np.clip(action, 0.0, 100.0),
            shutdown_status={"terminated": self.step == self.shutdown_step},
        )


SetPoints = make_dataclass("SetPoints", [(name, float) for name in generate.SET_POINT_SPANS])


class RecordingController:
    """Stands in for the controller: acts on what it sees, remembers its set-points."""

    def __init__(self) -> None:
        self.setpoints: Any = None
        self.seen: list[Any] = []

    def reset(self, measurements: Floats, *, time: float) -> None:
        assert (len(measurements), time) == (1, 0.0)
        self.setpoints = SetPoints(**dict.fromkeys(generate.SET_POINT_SPANS, 50.0))

    def compute_action(self, measurements: Floats, *, time: float) -> tuple[Floats, None]:
        assert time >= 0.0
        self.seen.append(self.setpoints)
        return measurements + 0.5, None


@pytest.fixture
def controller() -> RecordingController:
    return RecordingController()


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch, controller: RecordingController) -> CountingPlant:
    plant = CountingPlant()
    disturbances = [SimpleNamespace(description=f"disturbance {n}") for n in range(1, 29)]
    simulator = SimpleNamespace(
        TennesseeEastmanProcess=lambda: plant,
        RickerMultiLoopController=lambda: controller,
        TEP_SCHEMA=SimpleNamespace(disturbances=disturbances),
    )
    monkeypatch.setattr(generate, "load_simulator", lambda: simulator)
    return plant


START = datetime(2026, 5, 7, tzinfo=UTC)
SHORT = Run(
    run="idv_04",
    kind="fault",
    seed=8,
    start=START,
    end=START + 3 * SAMPLE_PERIOD,
    disturbance=4,
    onset=START + 2 * SAMPLE_PERIOD,
)


@pytest.mark.usefixtures("plant")
def test_sample_is_the_end_of_every_hundredth_step_with_the_action_in_force() -> None:
    run, values = generate.simulate_run(SHORT, warm_up=timedelta(0))
    assert run == SHORT
    np.testing.assert_array_equal(values, [[1.0, 1.49], [2.0, 2.49], [3.0, 3.49]])


@pytest.mark.usefixtures("plant")
def test_warm_up_comes_before_the_first_sample_and_is_not_recorded() -> None:
    run, values = generate.simulate_run(SHORT, warm_up=2 * SAMPLE_PERIOD)
    assert run == SHORT
    assert values[:, 0].tolist() == [3.0, 4.0, 5.0]


def test_a_quick_warm_up_takes_fewer_steps_and_records_the_same_rows(plant: CountingPlant) -> None:
    warm_up = timedelta(hours=14)
    _, values = generate.simulate_run(SHORT, warm_up=warm_up, quick=True)
    assert values[:, 0].tolist() == [281.0, 282.0, 283.0]
    assert plant.advances == 2 * 2000 // generate.COARSE + 12 * 2000 + 300


def test_a_warm_up_shorter_than_its_fine_end_is_never_quick(plant: CountingPlant) -> None:
    generate.simulate_run(SHORT, warm_up=2 * SAMPLE_PERIOD, quick=True)
    assert plant.advances == 500


@pytest.mark.usefixtures("plant")
def test_set_points_stay_unless_they_are_to_move(controller: RecordingController) -> None:
    generate.simulate_run(SHORT, warm_up=timedelta(hours=5), quick=True)
    assert len(set(map(astuple, controller.seen))) == 1


@pytest.mark.usefixtures("plant")
def test_moving_set_points_change_one_at_a_time_within_their_spans(
    controller: RecordingController,
) -> None:
    run = replace(SHORT, end=START + timedelta(hours=1))
    generate.simulate_run(run, mode="moving", warm_up=timedelta(hours=24), quick=True)
    start = (50.0,) * len(generate.SET_POINT_SPANS)
    levels = [start, *(astuple(one) for one in controller.seen)]
    moves = [pair for pair in pairwise(levels) if pair[0] != pair[1]]
    assert len(moves) == 7  # at the beginning of the warm-up, then every four hours
    assert all(sum(a != b for a, b in zip(*pair, strict=True)) == 1 for pair in moves)
    spans = np.array(list(generate.SET_POINT_SPANS.values()))
    assert (np.abs(np.array(levels) - 50.0) <= spans).all()


@pytest.mark.usefixtures("plant")
def test_set_points_move_by_the_seed_of_the_run(controller: RecordingController) -> None:
    for seed in (8, 8, 24):
        generate.simulate_run(replace(SHORT, seed=seed), mode="moving", warm_up=timedelta(0))
    first, again, other = (astuple(controller.seen[place]) for place in (0, 300, 600))
    assert first == again != other


def test_disturbance_is_active_from_the_onset_on(plant: CountingPlant) -> None:
    generate.simulate_run(SHORT, warm_up=timedelta(0))
    assert plant.disturbed_steps == list(range(201, 301))


@pytest.mark.parametrize(("step", "kept"), [(250, 2), (200, 1), (201, 2)])
def test_shutdown_ends_the_run_with_the_last_whole_sample(
    plant: CountingPlant, step: int, kept: int
) -> None:
    plant.shutdown_step = step
    run, values = generate.simulate_run(SHORT, warm_up=timedelta(0))
    assert len(values) == kept
    assert run.end == START + kept * SAMPLE_PERIOD
    assert run.shutdown_at == START + step * timedelta(seconds=1.8)


@pytest.mark.usefixtures("plant")
def test_plan_agrees_with_the_runs_that_come_with_the_package() -> None:
    planned = generate.plan_runs(seed=1)
    for run, made in zip(planned, load_runs(), strict=True):
        assert made == replace(
            run, end=made.end, shutdown_at=made.shutdown_at, description=made.description
        )


@pytest.mark.usefixtures("plant")
def test_a_larger_plan_has_more_runs_of_each_fault_in_order_of_time() -> None:
    size = Size(held_out_runs=20, held_out_hours=72, fault_runs=3)
    runs = generate.plan_runs(seed=7, size=size)
    assert Counter(run.kind for run in runs) == {"train": 20, "held_out": 20, "fault": 60}
    assert Counter(run.disturbance for run in runs if run.disturbance) == dict.fromkeys(
        range(1, 21), 3
    )
    assert len({run.seed for run in runs}) == len({run.run for run in runs}) == 100
    assert all(earlier.end < later.start for earlier, later in pairwise(runs))
    assert {run.end - run.start for run in runs if run.kind == "held_out"} == {timedelta(hours=72)}
    assert [run.run for run in runs if run.disturbance == 4] == ["idv_04", "idv_04_2", "idv_04_3"]


def test_seeds_keep_the_longest_cycle_of_the_random_numbers() -> None:
    seeds = {
        generate.make_kernel_seed(base, campaign, number)
        for base in range(1, 4)
        for campaign in range(3)
        for number in range(1, 21)
    }
    assert len(seeds) == 180
    assert all(seed % 16 == 8 and 0 < seed < 2**32 for seed in seeds)


def test_missing_simulator_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tep_studio", None)
    with pytest.raises(generate.SimulatorMissingError, match=r"\.\[simulator\]"):
        generate.load_simulator()


def test_simulator_makes_the_first_hour_of_the_package_data_again(samples: Samples) -> None:
    pytest.importorskip("tep_studio", reason="the extra 'simulator' is not installed")
    first = load_runs()[0]
    run = replace(first, end=first.start + timedelta(hours=1))
    again = generate.make_samples(*generate.simulate_run(run), samples["train"].columns[1:])
    polars.testing.assert_frame_equal(again, samples["train"].head(20), check_exact=True)
