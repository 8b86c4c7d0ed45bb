import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from prefect.client.orchestration import get_client

from features.channels import Channel
from features.findings import QualityReport
from features.schema import samples_schema
from pipelines.cli import main
from pipelines.config import AssetConfig, load_asset
from pipelines.historian import Historian
from pipelines.history import HistoryError
from pipelines.quality import (
    HEADS,
    SHOWN_REMARKS,
    check_quality,
    in_words,
    print_quality,
)
from pipelines.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ASSET = """
[asset]
id = "pump_07"
[source]
files = "*.csv"
[[channel]]
name = "flow"
unit = "m3/h"
range = [-10.0, 10.0]
[[channel]]
name = "pressure"
[window]
sample_period_s = 60.0
"""


@pytest.fixture
def asset_file(tmp_path: Path) -> Path:
    path = tmp_path / "pump.toml"
    path.write_text(ASSET, encoding="utf-8")
    return path


@pytest.fixture
def asset(asset_file: Path) -> AssetConfig:
    return load_asset(asset_file)


@pytest.fixture
def historian(tmp_path: Path, asset: AssetConfig) -> Historian:
    return Historian(tmp_path / "historian", asset.asset.id, asset.channel)


def two_days(channels: tuple[Channel, ...]) -> pl.DataFrame:
    """Noise, and a pressure that is stuck from the second day on."""
    rng, rows = np.random.default_rng(0), 2 * 1440 + 1
    pressure = rng.normal(size=rows)
    pressure[1440:] = 3.0
    columns = {
        "time": [START + minute * timedelta(minutes=1) for minute in range(rows)],
        "flow": rng.normal(size=rows),
        "pressure": pressure,
    }
    return pl.DataFrame(columns, schema=samples_schema(channels))


@pytest.fixture
def filled(historian: Historian) -> Historian:
    historian.merge(two_days(historian.channels), source="a.csv")
    return historian


def test_the_whole_history_is_measured_against_the_budget(
    asset: AssetConfig, filled: Historian
) -> None:
    report = check_quality(asset, filled)
    assert report.rows == 2881
    assert report.remarks[0].endswith("the alarm budget needs 10: 8.0 more days are missing")
    assert report.remarks[1].startswith(
        "channel 'pressure' holds exactly 3 for 1 d from 2026-01-02"
    )
    assert len(report.remarks) == 2


def test_a_part_of_the_history_is_judged_for_what_it_is(
    asset: AssetConfig, filled: Historian
) -> None:
    report = check_quality(asset, filled, START, START + 24 * HOUR)
    assert (report.rows, report.remarks, report.days_needed) == (1440, (), None)
    assert (
        check_quality(asset, filled, START + 24 * HOUR)
        .remarks[0]
        .startswith("channel 'pressure' is constant: 3 in every row")
    )


def test_an_empty_historian_says_what_to_run(asset: AssetConfig, historian: Historian) -> None:
    with pytest.raises(
        HistoryError, match=r"^pump_07: the historian is empty; run `faultwatch ingest` first$"
    ):
        check_quality(asset, historian)


def test_a_span_without_samples_is_named(asset: AssetConfig, filled: Historian) -> None:
    with pytest.raises(
        HistoryError, match=r"no samples from 2026-01-11T00:00:00.00:00; run .* span"
    ):
        check_quality(asset, filled, START + 240 * HOUR)
    with pytest.raises(HistoryError, match="no samples to 2025-12-31"):
        check_quality(asset, filled, end=START - HOUR)


def test_the_table_fits_a_terminal_of_100_columns(
    asset: AssetConfig, filled: Historian, capsys: pytest.CaptureFixture[str]
) -> None:
    print_quality("pump_07", check_quality(asset, filled))
    printed = capsys.readouterr().out
    assert all(len(line) <= 100 for line in printed.splitlines())
    assert printed.startswith("pump_07: 2,881 rows from 2026-01-01 00:00 to 2026-01-03 00:00 UTC,")
    rows = [line.split() for line in printed.splitlines()]
    assert ["pressure", "0", "%", "50", "%", "1", "d"] in rows
    assert ["flow", "0", "%", "0", "%", "0", "s", "0", "%"] in rows
    assert "- 2.0 days of running are covered" in printed


def test_a_report_without_remarks_says_that_nothing_stands_out(
    asset: AssetConfig, filled: Historian, capsys: pytest.CaptureFixture[str]
) -> None:
    print_quality("pump_07", check_quality(asset, filled, START, START + 24 * HOUR))
    assert capsys.readouterr().out.endswith("- nothing stands out\n")


def test_only_the_first_remarks_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    remarks = tuple(f"remark {number}" for number in range(SHOWN_REMARKS + 3))
    print_quality("pump_07", one_row(remarks=remarks))
    printed = capsys.readouterr().out
    assert f"- remark {SHOWN_REMARKS - 1}\n" in printed
    assert f"- remark {SHOWN_REMARKS}\n" not in printed
    assert printed.endswith("- and 3 more: `faultwatch quality --json` has them all\n")


def one_row(remarks: tuple[str, ...]) -> QualityReport:
    return QualityReport.from_dict(
        {
            "rows": 1,
            "first_at": START,
            "last_at": START,
            "days_spanned": 0.0,
            "days_covered": 0.0,
            "days_needed": None,
            "sample_period_s": 60.0,
            "usual_period_s": None,
            "regular_share": 0.0,
            "gaps": {"count": 0, "total_s": 0.0, "longest": None},
            "rate_changes": [],
            "channels": [],
            "remarks": remarks,
        }
    )


def test_one_row_has_no_sample_period() -> None:
    assert in_words(one_row(remarks=())).endswith("a sample only once")


@pytest.mark.usefixtures("prefect_harness")
def test_the_verb_stores_artifacts_and_prints_nothing_but_json(
    asset_file: Path,
    asset: AssetConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("FAULTWATCH_HOME", str(tmp_path))
    historian = Historian(Settings().historian_address, asset.asset.id, asset.channel)
    historian.merge(two_days(asset.channel), source="a.csv")
    at = ["--from", "2026-01-01T12:00:00Z", "--to", "2026-01-02T13:00:00+01:00"]
    assert main(["quality", str(asset_file), *at, "--json"]) == 0
    report = QualityReport.from_dict(json.loads(capsys.readouterr().out))
    assert report == check_quality(asset, historian, START + 12 * HOUR, START + 36 * HOUR)
    with get_client(sync_client=True) as client:
        stored = {artifact.key: artifact for artifact in client.read_artifacts()}
    rows = json.loads(str(stored["quality-pump-07"].data))
    assert [row["channel"] for row in rows] == ["flow", "pressure"]
    assert list(rows[0]) == [head.replace("\n", " ") for head in HEADS]
    remarks = stored["quality-pump-07-remarks"]
    assert "- channel 'pressure' holds exactly 3 for 12 h from 2026-01-02" in str(remarks.data)


def test_a_time_without_an_offset_is_answered_with_a_sentence(
    asset_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quality", str(asset_file), "--from", "2026-01-01T12:00:00"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("faultwatch: --from")
    assert said.count("\n") == 1
