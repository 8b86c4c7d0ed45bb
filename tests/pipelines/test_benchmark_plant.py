import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from rich.console import Console
from typing_extensions import override

from faultwatch_edge.manifest import ThresholdSpec
from features.channels import channel_names
from models.calibration import CalibrationError
from pipelines.benchmark import BenchmarkError
from pipelines.benchmark_plant import DRAWS, SMALL_ROWS, run_plant_benchmark
from pipelines.injected import InjectedFaults
from pipelines.trial import fitted_trial

Floats = NDArray[np.float64]
DETECTORS = ["window_pca", "pca", "vae"]


class StandIn:
    """Scores the largest deviation of a row from the mean of the training rows."""

    def __init__(self, train: pl.DataFrame, names: list[str], lookback: int) -> None:
        values = train.select(names).to_numpy()
        self.names, self.lookback = names, lookback
        self.mean, self.deviation = values.mean(axis=0), values.std(axis=0)
        self.budget = ThresholdSpec(
            score=5.0,
            false_alarms_per_day=0.1,
            expected_per_day=0.0,
            interval_per_day=(0.0, 0.5),
            scored_days=1.0,
            extrapolated=False,
        )

    def by_share(self, far: float) -> float:
        return {0.01: 3.0, 0.001: 4.0}[far]

    def score(self, samples: pl.DataFrame) -> Floats:
        rows = (samples.select(self.names).to_numpy() - self.mean) / self.deviation
        score: Floats = np.nan_to_num(np.abs(rows)).max(axis=1)
        score[: self.lookback] = np.nan
        return score

    def count_alarms(self, samples: pl.DataFrame, score: Floats) -> int:
        assert len(samples) == len(score)
        return int((score >= 3.5).any())

    def count_sensor_events(self, samples: pl.DataFrame) -> int:
        return samples.height // 50

    def injected(self, samples: pl.DataFrame, count: int) -> tuple[InjectedFaults, ...]:
        assert samples.height == 60
        return (
            InjectedFaults("bias", count, count, 180.0, count - 1, count),
            InjectedFaults("stuck", count, 3, 180.0, 1, 2),
        )


class Fit:
    """The product's path for tests; remembers what was fitted on how many rows."""

    def __init__(self) -> None:
        self.fitted: list[tuple[str, int]] = []

    @contextmanager
    def __call__(
        self, train: pl.DataFrame, *, reconstructor: str, **options: Any
    ) -> Iterator[StandIn]:
        self.fitted.append((reconstructor, train.height))
        assert options["seed"] == 0
        names = list(channel_names(options["channels"]))
        yield StandIn(train, names, options["window"].length - 1)


@pytest.fixture
def plants(make_tep: Callable[..., Path]) -> list[Path]:
    return [make_tep(f"plant-{seed}", seed=seed, fault_runs=3) for seed in (1, 2, 3)]


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], str]]:
    """Runs the benchmark; gives the JSON file and what was printed."""

    def run(folders: list[Path], fit: Any) -> tuple[dict[str, Any], str]:
        out, text = tmp_path / "plant.json", StringIO()
        console = Console(file=text, width=300)
        results = run_plant_benchmark(folders, out=out, fit=fit, console=console)
        written = json.loads(out.read_text())
        assert written == results
        return written, text.getvalue()

    return run


def test_each_detector_learns_from_all_rows_and_from_few_of_each_plant(
    plants: list[Path], go: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.benchmark_plant.SMALL_ROWS", 100)
    fit = Fit()
    results, _ = go(plants, fit)
    assert fit.fitted == [(name, rows) for name in DETECTORS for rows in (480, 100)] * 3
    assert list(results["plants"]) == ["plant-1", "plant-2", "plant-3"]
    assert SMALL_ROWS == 500


def test_detection_has_mean_and_spread_over_the_plants_and_its_false_alarms(
    plants: list[Path], go: Callable[..., Any]
) -> None:
    results, text = go(plants, Fit())
    full = results["summary"]["vae"]["full"]
    steps = [plant["steps"]["vae.full"] for plant in results["plants"].values()]
    for threshold in ("share_1", "share_0.1", "budget"):
        values = [step["figures"][threshold]["fdr"] for step in steps]
        assert full["figures"][threshold]["fdr"] == {
            "mean": pytest.approx(np.mean(values)),
            "spread": pytest.approx(np.std(values, ddof=1)),
        }
        assert full["figures"][threshold]["far"]["mean"] >= 0.0
    easier = full["figures"]["share_1"]["fdr_without_3_9_15"]["mean"]
    assert easier > 0.99 > full["figures"]["share_1"]["fdr"]["mean"]  # fault 3 does not show
    assert "matched, for comparison" in text


def test_the_promised_shares_are_pooled_over_the_normal_runs(
    plants: list[Path], go: Callable[..., Any]
) -> None:
    promise = go(plants, Fit())[0]["summary"]["vae"]["full"]["promises"]["share_1"]
    assert promise["runs"] == 6
    assert promise["rows"] == 6 * (60 - 15)  # the first fifteen rows of a run are not scored
    assert promise["low"] <= promise["share"] <= promise["high"]
    assert promise["share"] == pytest.approx(0.008, abs=0.012)  # three channels beyond 3 sd


def test_alarms_are_counted_against_the_budget(plants: list[Path], go: Callable[..., Any]) -> None:
    budget = go(plants, Fit())[0]["summary"]["vae"]["full"]["budget"]
    assert budget["days"] == pytest.approx(6 * 45 * 3 / 60 / 24)
    assert budget["realised_per_day"] == pytest.approx(budget["alarms"] / budget["days"])
    assert budget["inside"] == (budget["low"] <= 0.1 <= budget["high"])


def test_sensors_that_are_blamed_in_normal_running_are_counted(
    plants: list[Path], go: Callable[..., Any]
) -> None:
    results, text = go(plants, Fit())
    sensors = results["summary"]["vae"]["full"]["sensors"]
    assert sensors["events"] == 6
    assert sensors["per_day"] == pytest.approx(6 / sensors["days"])
    assert sensors["low"] < sensors["per_day"] < sensors["high"]
    assert f"{sensors['per_day']:.3f} [" in text


def test_missing_channels_are_drawn_anew_and_alike_for_every_detector(
    plants: list[Path], go: Callable[..., Any]
) -> None:
    results, _ = go(plants, Fit())
    drawn = {
        name: [draw["channels"] for draw in plant["steps"][f"{name}.full"]["missing"]]
        for plant in results["plants"].values()
        for name in DETECTORS
    }
    assert drawn["vae"] == drawn["pca"] == drawn["window_pca"]
    assert len(drawn["vae"]) == DRAWS
    assert results["summary"]["vae"]["full"]["missing"]["mean"] == 0.0  # nothing left to score


def test_attribution_is_pooled_and_a_fault_not_found_is_no_hit(
    plants: list[Path], go: Callable[..., Any]
) -> None:
    results, text = go(plants, Fit())
    injected = results["summary"]["pca"]["full"]["injected"]
    assert injected["stuck"] == {"tried": 36, "found": 9, "first_hits": 3, "three_hits": 6}
    assert injected["all"] == {"tried": 72, "found": 45, "first_hits": 36, "three_hits": 42}
    assert "hit@3" in text


def test_a_run_that_was_broken_off_goes_on_where_it_was(
    plants: list[Path], go: Callable[..., Any]
) -> None:
    class Broken(Fit):
        @override
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            if len(self.fitted) == 4:
                raise KeyboardInterrupt
            return super().__call__(*arguments, **options)

    with pytest.raises(KeyboardInterrupt):
        go(plants[:1], Broken())
    rest = Fit()
    whole, _ = go(plants, rest)
    assert [name for name, _ in rest.fitted] == [
        "vae",
        "vae",
        *np.repeat(DETECTORS, 2).tolist() * 2,
    ]
    again = Fit()
    assert go(plants, again)[0] == whole
    assert again.fitted == []


def test_results_of_other_code_or_other_data_are_not_gone_on_with(
    plants: list[Path], go: Callable[..., Any], tmp_path: Path
) -> None:
    results, _ = go(plants[:1], Fit())
    out = tmp_path / "plant.json"
    out.write_text(json.dumps(results | {"git_revision": "older"}))
    with pytest.raises(BenchmarkError, match="has git_revision 'older'"):
        go(plants, Fit())
    out.write_text(json.dumps(results))
    runs = plants[0] / "runs.csv"
    runs.write_text(runs.read_text().replace("held_out_05", "held_out_5"))
    with pytest.raises(BenchmarkError, match="knows another plant 'plant-1'"):
        go(plants, Fit())
    out.write_text("no results")
    with pytest.raises(BenchmarkError, match="has data_set None"):
        go(plants, Fit())


def test_two_folders_of_one_name_are_refused(plants: list[Path], go: Callable[..., Any]) -> None:
    with pytest.raises(BenchmarkError, match="two folders have the same name"):
        go([plants[0], plants[0]], Fit())


def test_a_detector_that_refuses_has_no_figures(plants: list[Path], go: Callable[..., Any]) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise CalibrationError("12 windows cannot calibrate a score")

    results, _ = go(plants[:1], refuse)
    assert results["plants"]["plant-1"]["steps"]["vae.full"] == {
        "refused": "12 windows cannot calibrate a score"
    }
    assert results["summary"] == {}


def test_the_page_has_the_tables(
    plants: list[Path], go: Callable[..., Any], tmp_path: Path
) -> None:
    go(plants, Fit())
    page = (tmp_path / "plant.md").read_text()
    assert page.startswith("# Tennessee Eastman process, plants simulated anew\n")
    assert page.count("| --- |") == 4
    assert "| VAE | stuck | 36 | 25.00 | 8.33 | 16.67 | 33.33 |" in page
    assert "Plants: plant-1, plant-2, plant-3." in page


def test_the_product_itself_is_measured_on_a_tiny_plant(
    make_tep: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.benchmark_plant.TITLES", {"window_pca": "window-PCA"})
    monkeypatch.setattr("pipelines.benchmark_plant.DRAWS", 1)
    monkeypatch.setattr("pipelines.benchmark_plant.MISSING", 1)
    monkeypatch.setattr("pipelines.benchmark_plant.INJECTED_CHANNELS", 1)
    monkeypatch.setattr("pipelines.benchmark_plant.SMALL_ROWS", 20)
    plant = make_tep("plant", held_out_rows=64)
    results = run_plant_benchmark(
        [plant], out=tmp_path / "plant.json", fit=fitted_trial, console=Console(file=StringIO())
    )
    steps = results["plants"]["plant"]["steps"]
    full = results["summary"]["window_pca"]["full"]
    assert full["figures"]["share_1"]["fdr_without_3_9_15"]["mean"] > 0.9
    assert full["injected"]["bias"]["tried"] == full["injected"]["bias"]["found"] == 1
    assert full["budget"]["days"] == pytest.approx(2 * 49 * 3 / 60 / 24)
    assert full["sensors"]["events"] >= 0
    assert [draw["rows"] for draw in steps["window_pca.full"]["missing"]] == [2 * 49]
    assert "windows of normal running" in steps["window_pca.small"]["refused"]
