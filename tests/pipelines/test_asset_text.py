import random
import sqlite3
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.first_look.pieces import InspectionError
from pipelines.asset_text import toml
from pipelines.cli import main
from pipelines.config import load_asset
from pipelines.data_files import InitError
from pipelines.historian import Historian
from pipelines.ingest import ingest_asset
from pipelines.init import init_files, init_query

START = datetime(2026, 1, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(count: int = 60, *, start: int = 0, form: str = "%Y-%m-%d %H:%M:%S") -> list[list[str]]:
    chance = random.Random(start)  # noqa: S311 - noise, not a secret
    return [
        [
            (START + timedelta(minutes=start + place)).strftime(form),
            f"{chance.gauss(50, 5):.2f}",
            f"{chance.gauss(3, 1):.2f}",
        ]
        for place in range(count)
    ]


def test_a_query_becomes_an_asset_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = sqlite3.connect("plant.db")
    log.execute("CREATE TABLE log (at TEXT, flow REAL)")
    log.executemany("INSERT INTO log VALUES (?, ?)", [(at, float(v)) for at, v, _ in rows()])
    log.commit()
    log.close()
    sql = "SELECT at, flow\nFROM log"
    assert main(["init", "--sql", sql, "--id", "pump"]) == 2
    assert "set FAULTWATCH_DATABASE" in capsys.readouterr().err
    monkeypatch.setenv("FAULTWATCH_DATABASE", "sqlite:///plant.db")
    assert main(["init", "--sql", sql, "--id", "pump"]) == 0
    asset = load_asset("pump.toml")
    assert (asset.source.sql or "").strip() == sql
    assert (asset.source.time, asset.source.time_zone) == ("at", "UTC")
    historian = Historian("historian", "pump", asset.channel)
    assert ingest_asset(asset, historian, database="sqlite:///plant.db").counts.kept == 60


def test_a_query_of_which_only_the_beginning_was_seen_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.init.MOST_ROWS", 20)
    first = pl.DataFrame(rows(20), schema=["time", "flow", "level"], orient="row")
    done = init_query("SELECT ''' FROM x", first, out=Path("pump.toml"))
    assert "only the first 20 rows of the query were looked at" in done.summary
    assert load_asset("pump.toml").source.sql == "SELECT ''' FROM x"


def test_a_query_without_a_name_is_refused() -> None:
    with pytest.raises(InitError, match="a query gives the asset no name; add --id"):
        init_query("SELECT 1", pl.DataFrame())


@given(st.text())
def test_any_text_can_be_written(value: str) -> None:
    assert tomllib.loads(f"x = {toml(value)}") == {"x": value}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=5, unique=True))
def test_any_column_names_give_a_file_that_loads(names: list[str]) -> None:
    body = {"time": [at for at, *_ in rows(30)]}
    body |= {name: [value for _, value, _ in rows(30)] for name in names if name != "time"}
    pl.DataFrame(body).write_parquet("any.parquet")
    Path("any.toml").unlink(missing_ok=True)
    try:
        asset = load_asset(init_files(["any.parquet"], time="time").path)
    except InspectionError as error:
        assert "has no column of numbers" in str(error)  # noqa: PT017 - all names may be labels
    else:
        assert {channel.tag or channel.name for channel in asset.channel} <= set(names)
