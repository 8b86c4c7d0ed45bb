import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from features.channels import Channel
from features.datasets.errors import DatasetError
from features.datasets.skab import COLUMNS
from features.datasets.tep import RUNS_FILE, SAMPLE_FILES
from features.grid import WindowConfig
from models import plain_autoencoders
from models.calibration import CalibrationError
from models.config import ReconstructorName
from pipelines.benchmark import BenchmarkError, run_benchmark
from pipelines.benchmark_data import HARD_FAULTS, PUMP_WINDOW, load_benchmark, uninterrupted
from pipelines.report import draw_bars, draw_shares
from pipelines.settings import Settings

Floats = NDArray[np.float64]
START = datetime(2026, 1, 1, tzinfo=UTC)
PERIOD = timedelta(minutes=3)
LINES = ["vae_share", "vae_budget", "window_pca", "pca", "dynamic_pca", "isolation_forest"]
LINES += ["neighbours", "lstm_autoencoder", "conv_autoencoder"]


@dataclass(frozen=True)
class StandIn:
    """What the product's path would say: the largest deviation of a row."""

    score: Floats
    by_share: float = 3.5
    by_budget: float = 5.0


def stand_in(
    train: pl.DataFrame,
    tests: Sequence[pl.DataFrame],
    *,
    channels: tuple[Channel, ...],
    window: WindowConfig,
    reconstructor: ReconstructorName,
    far: float,
    seed: int,
) -> list[StandIn]:
    assert (reconstructor, far) in {("vae", 0.01), ("window_pca", 0.01)}
    names = [channel.name for channel in channels]
    assert "anomaly" not in train.columns
    assert train.columns == ["time", *names]
    mean, deviation = (train.select(names).to_numpy(), train.select(names).to_numpy().std(axis=0))
    found = []
    for test in tests:
        rows = (test.select(names).to_numpy() - mean.mean(axis=0)) / deviation
        score = np.abs(rows).max(axis=1) + 0.01 * seed
        score[: window.length - 1] = np.nan
        found.append(StandIn(score))
    return found


def refuse(*_: object, **__: object) -> list[StandIn]:
    raise CalibrationError("12 windows cannot calibrate a score; add normal running")


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_autoencoders, "LEAST_STEPS", 5)
    monkeypatch.setattr(plain_autoencoders, "MOST_STEPS", 5)


@pytest.fixture
def plant(make_tep: Callable[..., Path]) -> Path:
    """Four runs to learn from, two normal runs, three faults; the last one does not show."""
    return make_tep("plant")


@pytest.fixture
def pump(tmp_path: Path) -> Path:
    """Three runs of 460 rows in the form of the Skoltech benchmark, faulty from row 430 on."""
    folder = tmp_path / "pump"
    generator = np.random.default_rng(0)
    for group in ("valve1", "valve2", "other"):
        (folder / group).mkdir(parents=True)
        values = generator.normal(size=(460, 8)) + 20.0
        values[430:] += 6.0
        at = [datetime(2020, 3, 1) + timedelta(seconds=row) for row in range(460)]  # noqa: DTZ001 - as published
        faulty = [float(row >= 430) for row in range(460)]
        table = pl.DataFrame({"datetime": [str(one) for one in at]}).with_columns(
            *(pl.Series(name, column) for name, column in zip(COLUMNS, values.T, strict=True)),
            anomaly=pl.Series(faulty),
            changepoint=pl.Series([0.0] * 460),
        )
        table.write_csv(folder / group / "0.csv", separator=";")
    return folder


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], str]]:
    """Runs a benchmark; gives the JSON file and what was printed."""

    def run(name: Any, data: Path, **changes: Any) -> tuple[dict[str, Any], str]:
        out, text = tmp_path / "results.json", StringIO()
        options: dict[str, Any] = {"seeds": 1, "try_detector": stand_in, "out": out} | changes
        console = Console(file=text, width=300)
        results = run_benchmark(
            name, Settings(home=tmp_path / "home"), data=data, console=console, **options
        )
        written = json.loads(out.read_text())
        assert written == results
        return written, text.getvalue()

    return run


def by_name(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {method["name"]: method for method in results["methods"]}


def test_the_plant_has_all_methods_figures_and_comparisons(
    plant: Path, go: Callable[..., Any]
) -> None:
    results, text = go("tep", plant, seeds=2)
    methods = by_name(results)
    assert list(methods) == LINES
    assert results["seeds"] == [0, 1]
    assert results["data_set"] == "tep"
    assert results["protocol"].startswith(
        "480 rows of normal running are learned from; 3 faults and 2 runs of normal running"
    )
    seeds = {name: len(method["per_seed"]) for name, method in methods.items()}
    assert seeds["pca"] == seeds["dynamic_pca"] == seeds["neighbours"] == 1
    assert seeds["vae_share"] == seeds["isolation_forest"] == seeds["conv_autoencoder"] == 2
    for title in ("VAE, default budget", "dynamic PCA, 3 lags", "seed 1", "FDR if FAR were 5%"):
        assert title in text
    assert len(results["comparisons"]) == 2 * 7 * 3
    for one in results["comparisons"]:
        assert one["product"] in {"vae_share", "vae_budget"}
        assert one["low"] <= one["difference"] + 1e-9
        assert one["difference"] <= one["high"] + 1e-9


def test_figures_of_the_plant_follow_from_the_scores(plant: Path, go: Callable[..., Any]) -> None:
    methods = by_name(go("tep", plant)[0])
    budget = methods["vae_budget"]["mean"]
    parts = methods["vae_budget"]["per_seed"][0]["parts"]
    assert list(parts) == ["1", "2", "3"]
    assert parts["1"] > 0.9
    assert parts["3"] < 0.1
    assert budget["fdr"] == pytest.approx(np.mean(list(parts.values())))
    assert budget["fdr_without_3_9_15"] == pytest.approx((parts["1"] + parts["2"]) / 2)
    assert budget["found"] == pytest.approx(2 / 3)
    assert budget["delay_s"] == 3 * PERIOD.total_seconds()
    assert methods["vae_share"]["mean"]["far"] >= budget["far"] == 0.0
    for method in methods.values():  # 120 rows: the threshold lets through 1, or 6
        mean = method["mean"]
        assert mean["fdr_at_far_1"] <= mean["fdr_at_far_5"]


def test_the_pump_is_counted_over_runs_and_has_a_floor(pump: Path, go: Callable[..., Any]) -> None:
    results, text = go("skab", pump)
    methods = by_name(results)
    assert list(methods) == [*LINES, "always"]
    always = methods["always"]["mean"]
    assert always == {"f1": pytest.approx(2 * 30 / 90), "far": 1.0, "mar": 0.0, "auc": 0.5}
    vae = methods["vae_budget"]["mean"]
    assert vae["f1"] > 0.8
    assert vae["auc"] > 0.95
    assert list(methods["pca"]["per_seed"][0]["parts"]) == ["valve1/0", "valve2/0", "other/0"]
    assert "always alarms" in text
    assert "FAR and MAR" in text
    assert {one["figure"] for one in results["comparisons"]} == {"f1", "far"}
    assert {one["rival"] for one in results["comparisons"]} == {*LINES[2:], "always"}


def test_a_method_that_refuses_to_learn_is_said_and_has_no_figures(
    plant: Path, go: Callable[..., Any]
) -> None:
    results, text = go("tep", plant, try_detector=refuse)
    methods = by_name(results)
    assert methods["vae_share"]["mean"] == {}
    assert methods["vae_share"]["per_seed"][0]["refused"] == [
        "plant: 12 windows cannot calibrate a score; add normal running"
    ]
    assert "VAE, 1% of rows learned nothing, plant: 12 windows cannot calibrate" in text
    assert methods["pca"]["mean"]["found"] > 0.5
    assert results["comparisons"] == []


def test_a_fault_that_most_do_not_find_has_no_median_delay(
    plant: Path, go: Callable[..., Any]
) -> None:
    def blind(*arguments: Any, **options: Any) -> list[StandIn]:
        found = stand_in(*arguments, **options)
        return [StandIn(one.score, by_share=1e9, by_budget=1e9) for one in found]

    mean = by_name(go("tep", plant, try_detector=blind)[0])["vae_share"]["mean"]
    assert (mean["found"], mean["delay_s"]) == (0.0, None)


def test_the_run_is_in_mlflow_with_figures_tables_and_pictures(
    plant: Path, tmp_path: Path, go: Callable[..., Any]
) -> None:
    results, _ = go("tep", plant, out=tmp_path / "results.json")
    client = mlflow.MlflowClient(Settings(home=tmp_path / "home").tracking_address)
    experiment = client.get_experiment_by_name("benchmark_tep")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["pca.fdr"] == pytest.approx(by_name(results)["pca"]["mean"]["fdr"])
    assert run.data.params["data_set"] == "tep"
    for folder, names in {
        "pictures": ["figures.png", "parts.png"],
        "tables": ["comparisons.csv", "figures.csv"],
    }.items():
        found = client.list_artifacts(run.info.run_id, folder)
        assert [Path(one.path).name for one in found] == names


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"seeds": 0}, "--seeds is 0; at least 1 is needed"),
        ({"out": Path("no/such/folder/results.json")}, "cannot be written"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(
    plant: Path, go: Callable[..., Any], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BenchmarkError, match=reason):
        go("tep", plant, **options)


def test_folders_that_hold_no_data_set_are_refused(plant: Path, pump: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a folder"):
        load_benchmark("tep", tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"has no runs\.csv; make the data set"):
        load_benchmark("tep", pump)
    with pytest.raises(DatasetError, match="name its folder with --data"):
        load_benchmark("skab", None)
    (plant / "train.parquet").write_text("not parquet")
    with pytest.raises(DatasetError, match="does not hold a plant"):
        load_benchmark("tep", plant)


def test_a_plant_of_another_form_is_refused(plant: Path) -> None:
    held_out = plant / SAMPLE_FILES["held_out"]
    samples = pl.read_parquet(held_out)
    samples.drop("flow").write_parquet(held_out)
    with pytest.raises(DatasetError, match=r"held_out\.parquet is no samples frame"):
        load_benchmark("tep", plant)
    samples[:60].write_parquet(held_out)
    with pytest.raises(DatasetError, match="run held_out_05 has no samples"):
        load_benchmark("tep", plant)
    runs = pl.read_csv(plant / RUNS_FILE, infer_schema=False)
    runs.filter(pl.col("kind") == "train").write_csv(plant / RUNS_FILE)
    with pytest.raises(DatasetError, match="other than 3, 9, 15"):
        load_benchmark("tep", plant)
    runs.drop("kind").write_csv(plant / RUNS_FILE)
    with pytest.raises(DatasetError, match="does not hold a plant"):
        load_benchmark("tep", plant)


def test_the_classical_files_are_known_by_their_name(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(960, 52))
    np.savetxt(tmp_path / "d00.dat", table[:500].T, fmt="%.3f")
    for number in range(22):
        np.savetxt(tmp_path / f"d{number:02d}_te.dat", table, fmt="%.3f")
    data = load_benchmark("tep", tmp_path)
    assert "classical" in data.title
    assert data.protocol.startswith("500 rows of normal running are learned from; 21 faults and")
    faults = [run.fault for run in data.cases[0].unseen]
    assert faults == [None, *range(1, 22)]
    assert set(HARD_FAULTS) < {fault for fault in faults if fault}


def test_the_bundled_plant_needs_no_folder() -> None:
    data = load_benchmark("tep", None)
    assert len(data.channels) == 53
    assert [run.fault for run in data.cases[0].unseen] == [None] * 6 + list(range(1, 21))
    first_fault = data.cases[0].unseen[6]
    assert first_fault.faulty.argmax() == 160


def test_a_pump_run_that_is_too_short_is_refused(pump: Path) -> None:
    path = pump / "other" / "0.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:401]) + "\n")
    with pytest.raises(DatasetError, match="run other/0 has 400 rows; expected more than 400"):
        load_benchmark("skab", pump)


def test_a_gap_separates_runs_and_a_late_row_does_not() -> None:
    at = [START + timedelta(seconds=second) for second in (0, 1, 3, 8, 30)]
    samples = pl.DataFrame({"time": at, "flow": [1.0, 2.0, 3.0, 4.0, 5.0]})
    runs = uninterrupted(samples, (Channel(name="flow"),), PUMP_WINDOW)
    assert [run[:, 0].tolist() for run in runs] == [[1.0, 2.0, 3.0, 4.0], [5.0]]


def test_the_pictures_show_every_method() -> None:
    bars = draw_bars(["a", "b"], {"F1": [0.5, np.nan], "FAR": [0.0, 0.0]}, marked=[True, False])
    assert [axes.get_title() for axes in bars.axes] == ["F1", "FAR"]
    assert len(bars.axes[0].patches) == 2
    shares = draw_shares(["a", "b"], ["1"], np.array([[0.5], [np.nan]]), title="FDR")
    assert [label.get_text() for label in shares.axes[0].get_yticklabels()] == ["a", "b"]
    assert isinstance(shares, Figure)
