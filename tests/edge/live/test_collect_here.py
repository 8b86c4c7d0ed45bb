"""The collector in this process, beside a real broker: what it says, and a disk that is full."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import polars as pl
import pytest
from pydantic import SecretStr

from pipelines import collect, records
from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.settings import Settings

pytestmark = pytest.mark.slow

START_S: Final = 1_767_225_600
ASSET: Final = AssetConfig.model_validate(
    {
        "asset": {"id": "pump_07"},
        "source": {"files": "*.csv"},
        "window": {"sample_period_s": 1.0},
        "channel": [{"name": "flow"}],
        "live": {"topic": "plant/pump_07", "time_format": "s"},
    }
)
Run = Callable[[], AbstractContextManager[list[str]]]


@pytest.fixture
def settings(broker: Any, tmp_path: Path) -> Settings:
    file = tmp_path / "broker.toml"
    file.write_text(
        f'[mqtt]\nhost = "localhost"\nport = {broker.port}\nusername = "collector"\n'
        f'ca = "{broker.ca}"\n'
    )
    secret = SecretStr("collector-secret")
    return Settings(home=tmp_path / "home", broker=file, mqtt_password=secret)


@pytest.fixture
def run(settings: Settings, wait_for: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the collector for as long as what it says is needed."""
    monkeypatch.setattr(records.SamplesRecord, "every_s", 1)

    @contextmanager
    def running() -> Iterator[list[str]]:
        stop, said = Event(), list[str]()
        words = {"is_stopped": stop.is_set, "say": said.append}
        thread = Thread(target=collect.collect, args=([ASSET], settings), kwargs=words)
        thread.start()
        try:
            wait_for(lambda: any(one.startswith("connected to") for one in said), "the collector")
            yield said
        finally:
            stop.set()
            thread.join(30)
        assert not thread.is_alive()

    return running


def read(settings: Settings) -> pl.DataFrame:
    return Historian(settings.historian_address, "pump_07", ASSET.channel).read()


def say_samples(peer: Callable[..., Any], first: int, count: int, **more: object) -> None:
    with peer("gateway") as gateway:
        for number in range(first, first + count):
            body = {"time": START_S + number, "flow": float(number), **more}
            assert gateway.say("plant/pump_07", body)


def test_it_says_what_it_took_and_tidies_its_tables(
    run: Run,
    settings: Settings,
    peer: Callable[..., Any],
    wait_for: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collect, "TOLD_EVERY_S", 1)
    monkeypatch.setattr(collect, "MAINTAINED_EVERY_S", 1)
    with run() as said:
        say_samples(peer, 0, 30)
        wait_for(lambda: read(settings).height == 30, "the samples")
        say_samples(peer, 20, 20)
        wait_for(lambda: read(settings).height == 40, "the other samples")
        wait_for(lambda: "taken: nothing; 0 messages wait" in said, "nothing more to take")
    taken = [int(one.split()[1]) for one in said if one.startswith("taken: ") and "samples" in one]
    assert sum(taken) == 50
    assert not [one for one in said if "cannot" in one]
    assert read(settings)["flow"].to_list() == [float(number) for number in range(40)]


def test_on_a_full_disk_nothing_is_acknowledged_that_could_not_be_kept(
    run: Run,
    settings: Settings,
    peer: Callable[..., Any],
    wait_for: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = sqlite3.connect

    def full_disk(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 12")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", full_disk)
        patched.setattr(records.SamplesRecord, "every_s", 600)
        with run() as said:
            say_samples(peer, 0, 20, pad="x" * 4_000)
            full = "cannot be written (database or disk is full); nothing more is taken"
            wait_for(lambda: any(full in one for one in said), "the full disk")
    assert 0 < read(settings).height < 20
    with run():
        wait_for(lambda: read(settings).height == 20, "all of it")
