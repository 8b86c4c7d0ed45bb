"""Two files in, scores of every row, figures and a page out."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from faultwatch_edge.__main__ import main as edge
from faultwatch_edge.bundle import read_bundle
from faultwatch_edge.keys import load_trusted_keys
from features.injection import FAULT_KINDS
from features.labels import LabelError
from models.calibration import CalibrationError
from pipelines.backtest import run_backtest, told_in_brief
from pipelines.trial_files import BacktestError
from pipelines.two_files import TrialOptions

START = datetime(2026, 1, 1, tzinfo=UTC)
AT = datetime(2026, 2, 1, tzinfo=UTC)
ROWS, FAULT = 1_500, 1_000
MakePlant = Callable[..., pl.DataFrame]
QUICK = TrialOptions(reconstructor="window_pca", far=0.01)


@pytest.fixture(scope="module")
def done(folder: Path) -> tuple[dict[str, Any], Path]:
    out = folder / "out"
    summary = run_backtest(
        folder / "train.csv",
        folder / "test.csv",
        out,
        QUICK,
        labels=folder / "labels.csv",
        at=AT,
    )
    return summary, out


def scores_of(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "scores.parquet")


def test_the_folder_holds_all_of_it_and_nothing_unfinished(
    done: tuple[dict[str, Any], Path],
) -> None:
    summary, out = done
    names = {"scores.parquet", "summary.json", "report.html", "train-1.fwb", "faultwatch.pub"}
    assert {path.name for path in out.iterdir()} == names
    assert json.loads((out / "summary.json").read_text()) == summary


def test_every_row_of_test_has_a_row_of_scores(done: tuple[dict[str, Any], Path]) -> None:
    summary, out = done
    scores = scores_of(out)
    assert scores.columns == [
        "row",
        "time",
        "score",
        "anomalous",
        "alarm",
        "contribution.Flow [m3/h]",
        "contribution.pressure",
        "contribution.mood",
    ]
    assert scores["row"].to_list() == list(range(ROWS))
    assert scores["time"][0] == START
    warm_up = summary["window_length"] - 1
    assert scores["score"].is_null().to_list() == [row < warm_up for row in range(ROWS)]
    threshold = summary["threshold"]
    expected = (scores["score"] >= threshold).fill_null(value=False)
    assert scores["anomalous"].to_list() == expected.to_list()


def test_the_fault_is_found_and_its_channel_is_among_the_blamed(
    done: tuple[dict[str, Any], Path],
) -> None:
    summary, out = done
    own = summary["detectors"]["window_pca"]
    assert (own["faults"], own["found"]) == (1, 1)
    assert own["anomalous_share"] < 0.05
    assert own["faulty_share"] > 0.5
    assert 0 < own["median_delay_s"] < 6 * 3600
    late = scores_of(out)[-200:]
    assert late["alarm"].all()
    blamed, other = (late[f"contribution.{name}"].to_numpy() for name in ("pressure", "mood"))
    assert (blamed > 2 * other).mean() > 0.9


def test_the_summary_says_what_was_promised_and_what_came_of_it(
    done: tuple[dict[str, Any], Path],
) -> None:
    summary, _ = done
    share = summary["anomalous_share"]
    assert share["promised"] == 0.01
    assert share["interval_90"][0] <= share["crossfitted"] <= 0.01 <= share["interval_90"][1] + 0.01
    assert summary["false_alarms_per_day"]["promised"] is None
    assert summary["rows"] == {"learned": 2_500, "test": ROWS, "scored": ROWS - 15}  # less a fault
    assert summary["extrapolated"] is False
    assert set(summary["detectors"]) == {"window_pca", "pca"}
    assert summary["windows"] == ROWS - 15
    promise, own = summary["promise"], summary["detectors"]["window_pca"]
    assert promise["days_to_support"] == 0.0
    assert promise["days_to_check"] == pytest.approx(max(1_600 / 1_440 - own["days"], 0.0))
    assert "of normal running that nothing was learned from: " in promise["realised"]
    for rival in summary["detectors"].values():
        low, high = rival["share_interval"]
        assert low <= rival["anomalous_share"] <= high
        assert rival["promise_inside"] == (low <= 0.01 <= high)
        assert rival["alarms_per_day"] == pytest.approx(rival["alarms"] / rival["days"])
    for name in ("seconds_to_fit", "seconds_to_score", "windows_per_second"):
        assert summary[name] > 0
    assert summary["runtime_windows_per_second"] > 0
    assert summary["warnings"] == []


def test_the_smallest_faults_that_are_found_are_in_all_that_is_left(
    done: tuple[dict[str, Any], Path],
) -> None:
    """In the summary, on the page, and in the signed bundle: the same ones."""
    summary, out = done
    certificate = summary["certificate"]
    limits = certificate["limits"]
    assert len(limits) == 3 * len(FAULT_KINDS)
    assert {limit["channel"] for limit in limits} == {"Flow", "pressure", "mood"}
    assert certificate["days"] < FAULT / 1440  # the labelled fault is left out
    of_pressure = {one["kind"]: one for one in limits if one["channel"] == "pressure"}
    assert 0 < of_pressure["bias"]["size"] <= of_pressure["spike"]["size"]
    assert of_pressure["dropout"]["is_found"]
    keys = load_trusted_keys([out / "faultwatch.pub"])
    sealed = read_bundle(out / summary["bundle"], trusted_keys=keys).certificate
    assert sealed is not None
    assert json.loads(sealed.to_json()) == certificate
    page = (out / "report.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<td class="limit-(?:\d|found|none)">', page)) == len(limits)


def test_the_page_says_it_to_people(done: tuple[dict[str, Any], Path]) -> None:
    _, out = done
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "1 of 1 labelled faults found" in page
    assert "PCA T²+Q" in page
    assert page.count(" anomalous (") == 3  # in the promise, and of each detector
    assert "<b>leak</b>" not in page  # names and notes are text, whatever is in them


def test_a_sensor_that_is_stuck_is_told_as_one_and_raises_no_alarm_of_the_machine(
    folder: Path, tmp_path: Path
) -> None:
    test = pl.read_csv(folder / "test.csv", separator=";", try_parse_dates=True)[:FAULT]
    time, column = test.columns[:2]
    held = pl.int_range(pl.len()).is_between(600, 700)
    test.with_columns(pl.when(held).then(test[column][600]).otherwise(column).alias(column)).select(
        pl.col(time).dt.strftime("%Y-%m-%dT%H:%M:%SZ"), pl.exclude(time)
    ).write_csv(tmp_path / "test.csv")
    summary = run_backtest(
        folder / "train.csv", tmp_path / "test.csv", tmp_path / "out", QUICK, labels=None, at=AT
    )
    sensors: list[dict[str, str]] = summary["sensors"]  # type: ignore[assignment]
    assert len(sensors) == 1
    told = sensors[0]
    began, ended = (START + timedelta(minutes=minutes) for minutes in (600, 700))
    assert (told["channel"], told["what"]) == (column, "failure, stuck")
    assert began < datetime.fromisoformat(told["began"]) < began + timedelta(minutes=30)
    assert ended < datetime.fromisoformat(told["ended"]) < ended + timedelta(minutes=30)
    while_stuck = scores_of(tmp_path / "out").filter(pl.col("time").is_between(began, ended))
    assert int(while_stuck["anomalous"].sum()) < 10
    assert f"Sensors at fault: {column} (failure, stuck)" in told_in_brief(summary, tmp_path)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert re.search(rf"{re.escape(column)}</span></th>\s*<td class=\"left\">failure, stuck<", page)


def test_a_device_decides_the_same(done: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    """The bundle, the edge's own reader of lines, its streaming grid: the same file."""
    _, out = done
    told = tmp_path / "scores.jsonl"
    code = edge(
        [
            *("run", str(out / "train-1.fwb"), "--key", str(out / "faultwatch.pub")),
            *("--source", str(out.parent / "test.csv")),
            *("--scores", str(told), "--out", str(tmp_path / "said")),
        ]
    )
    assert code == 0
    said = {row["time"]: row for row in map(json.loads, told.read_text().splitlines())}
    scored = scores_of(out).filter(pl.col("score").is_not_null())
    assert len(said) == scored.height
    for time, score, anomalous, alarm in scored.select(
        pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"), "score", "anomalous", "alarm"
    ).iter_rows():
        device = said[time]
        assert device["score"] == pytest.approx(score, rel=1e-4, abs=1e-4)
        assert device["anomalous"] == anomalous
        assert (device["state"] == "unacknowledged") == alarm


@pytest.fixture(scope="module")
def both(make_plant: MakePlant, folder: Path) -> tuple[dict[str, Any], Path]:
    """One file that teaches with its first rows, without times, in the order of its rows."""
    frame = pl.concat([make_plant(900, seed=1), make_plant(600, seed=3, fault_at=400)]).drop("time")
    frame.write_parquet(folder / "both.parquet")
    options = TrialOptions(train_rows=900, reconstructor="pca", sample_period_s=60.0)
    path, out = folder / "both.parquet", folder / "both"
    return run_backtest(path, path, out, options, labels=None, at=AT), out


def test_rows_that_taught_have_no_score(both: tuple[dict[str, Any], Path]) -> None:
    summary, out = both
    scores = scores_of(out)
    assert scores.height == 1_500
    assert scores["time"].is_null().all()
    taught, rest = scores[:900], scores[900:]
    assert taught["score"].is_null().all()
    assert not taught["anomalous"].any()
    assert not taught["alarm"].any()
    assert taught["contribution.mood"].is_null().all()
    assert rest["score"].null_count() == 0  # the window reaches back over the border
    assert summary["rows"]["scored"] == 600


def test_without_a_share_the_alarm_budget_decides(both: tuple[dict[str, Any], Path]) -> None:
    summary, _ = both
    assert summary["false_alarms_per_day"]["promised"] == 0.1
    assert summary["anomalous_share"]["promised"] is None
    assert summary["extrapolated"] is True
    assert summary["days_needed"] == pytest.approx(10.0)
    assert summary["warnings"][0].startswith("A budget of 0.1 false alarms a day wants 9.")
    assert "if all of it was normal running: nothing is labelled" in summary["promise"]["realised"]
    assert "No column holds times" in summary["warnings"][1]


def test_a_page_without_times_counts_rows(both: tuple[dict[str, Any], Path]) -> None:
    page = (both[1] / "report.html").read_text(encoding="utf-8")
    assert "1970" not in page
    assert "its first 900 rows" in page


def test_rows_out_of_order_come_back_where_they_were(
    done: tuple[dict[str, Any], Path], folder: Path, tmp_path: Path
) -> None:
    frame = pl.read_csv(folder / "test.csv", separator=";").with_row_index("place")
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=5)
    shuffled.drop("place").write_csv(tmp_path / "shuffled.csv")
    summary: dict[str, Any] = run_backtest(
        folder / "train.csv",
        tmp_path / "shuffled.csv",
        tmp_path / "out",
        QUICK,
        labels=folder / "labels.csv",
        at=AT,
    )
    found, ordered = scores_of(tmp_path / "out"), scores_of(done[1])
    again = found.with_columns(shuffled["place"])
    again = again.sort("place")
    np.testing.assert_allclose(again["score"][20:], ordered["score"][20:], rtol=1e-4)
    assert again["anomalous"].to_list() == ordered["anomalous"].to_list()
    assert "shuffled.csv is not in order of time" in summary["warnings"][0]


def test_too_few_rows_are_refused_with_the_number_needed(
    make_plant: MakePlant, folder: Path, tmp_path: Path
) -> None:
    make_plant(50, seed=1).write_csv(tmp_path / "few.csv")
    message = (
        r"few.csv has 50 rows of normal running that can be used, 195 or more are needed for 3"
    )
    with pytest.raises(BacktestError, match=message):
        run_backtest(tmp_path / "few.csv", folder / "test.csv", tmp_path, QUICK, labels=None, at=AT)
    assert [path.name for path in tmp_path.iterdir()] == ["few.csv"]


@pytest.mark.parametrize("kind", ["fault", "maintenance"])
def test_labelled_faults_and_maintenance_do_not_teach(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    start, end = START.isoformat(), (START + timedelta(minutes=2_900)).isoformat()
    (tmp_path / "labels.csv").write_text(f"start,end,kind,note\n{start},{end},{kind},\n")
    with pytest.raises(BacktestError, match=r"train.csv has 100 rows of normal running"):
        run_backtest(
            folder / "train.csv",
            folder / "test.csv",
            tmp_path,
            QUICK,
            labels=tmp_path / "labels.csv",
            at=AT,
        )


def test_labels_need_times(make_plant: MakePlant, folder: Path, tmp_path: Path) -> None:
    make_plant(900, seed=1).drop("time").write_csv(tmp_path / "rows.csv")
    with pytest.raises(BacktestError, match=r"rows.csv has no column of times"):
        run_backtest(
            tmp_path / "rows.csv",
            tmp_path / "rows.csv",
            tmp_path,
            TrialOptions(train_rows=800),
            labels=folder / "labels.csv",
            at=AT,
        )
    with pytest.raises(LabelError, match="no file of labels"):
        run_backtest(
            folder / "train.csv",
            folder / "test.csv",
            tmp_path,
            QUICK,
            labels=tmp_path / "gone.csv",
            at=AT,
        )


def test_a_folder_that_cannot_be_made_is_refused(folder: Path) -> None:
    taken = folder / "train.csv"
    with pytest.raises(BacktestError, match=r"--out .*train.csv/out: Not a directory; name a"):
        run_backtest(taken, taken, taken / "out", QUICK, labels=None, at=AT)


def test_a_summary_without_scores_is_said_plainly(done: tuple[dict[str, Any], Path]) -> None:
    summary = json.loads(json.dumps(done[0]))
    summary["detectors"]["window_pca"]["anomalous_share"] = None
    summary["warnings"] = ["look out"]
    text = told_in_brief(summary, Path("out"))
    assert text.startswith("test.csv: 1 of 1 labelled faults found; outside them ")
    assert "no row was scored" in text
    assert "CHECK: look out" in text


def test_too_little_in_each_fold_is_refused_by_the_calibration(
    folder: Path, tmp_path: Path
) -> None:
    """Rows enough, but in pieces too short for a window."""
    frame = pl.read_csv(folder / "train.csv")
    pieces = frame.filter(pl.int_range(pl.len()) % 50 < 12)
    pieces.write_csv(tmp_path / "pieces.csv")
    with pytest.raises(CalibrationError, match=r"windows of normal running"):
        run_backtest(
            tmp_path / "pieces.csv", folder / "test.csv", tmp_path, QUICK, labels=None, at=AT
        )


def test_a_channel_that_drifts_by_itself_is_told_and_raises_no_alarm(
    make_plant: MakePlant, tmp_path: Path
) -> None:
    warmer = pl.int_range(3_000).cast(pl.Float64) / 100
    for name, seed, shift in (("train", 1, 0.0), ("test", 2, 30.0)):
        mood = (pl.col("mood") + warmer + shift).alias("mood")
        make_plant(3_000, seed=seed).with_columns(mood).write_csv(tmp_path / f"{name}.csv")
    files = (tmp_path / "train.csv", tmp_path / "test.csv")
    out = tmp_path / "out"
    summary: dict[str, Any] = run_backtest(*files, out, QUICK, labels=None, at=AT)
    assert "channel 'mood' is left out of the score, for it drifts" in "".join(summary["warnings"])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "is left out of the score, for it drifts by itself" in page
    assert summary["detectors"]["window_pca"]["anomalous_share"] < 0.03
    assert scores_of(tmp_path / "out")["contribution.mood"].abs().max() == 0
