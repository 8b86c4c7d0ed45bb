"""Every run of the demo plant by MQTT: what the device says is what the backtest's agent says."""

import json
import re
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.times import to_iso
from features.datasets.tep import load_samples
from pipelines.candidate import Candidate, Origin, asset_windows, make_candidate
from pipelines.config import AssetConfig, load_asset
from pipelines.watch import watch, with_row_numbers

pytestmark = pytest.mark.slow

Body = dict[str, Any]
Served = Callable[[list[str], int], list[Body]]
TOPIC: Final = "plant/plant"


@pytest.fixture
def plant() -> AssetConfig:
    """With a training that is over in seconds."""
    asset = load_asset("tennessee_eastman")
    quick = {"epochs": 1, "windows_per_epoch": 1_024, "folds": 2}
    return asset.model_copy(update={"model": asset.model.model_copy(update=quick)})


@pytest.fixture
def samples() -> pl.DataFrame:
    return pl.concat([load_samples("held_out"), load_samples("fault")])


@pytest.fixture
def candidate(
    plant: AssetConfig, samples: pl.DataFrame, private_key: Ed25519PrivateKey, tmp_path: Path
) -> Candidate:
    return make_candidate(
        plant,
        "window_pca",
        normal=asset_windows(plant, load_samples("train")[:8_640]),
        recent=asset_windows(plant, samples),
        origin=Origin(1, datetime(2026, 6, 10, tzinfo=UTC), "", 0),
        folder=tmp_path,
        private_key=private_key,
    )


def bodies(samples: pl.DataFrame, names: tuple[str, ...]) -> list[str]:
    """One JSON object for each sample."""
    times = samples["time"].dt.epoch("us").to_list()
    rows = samples.select(names).iter_rows()
    return [
        json.dumps({"at": at_us, **dict(zip(names, row, strict=True))})
        for at_us, row in zip(times, rows, strict=True)
    ]


def by_agent(bundle: Bundle, samples: pl.DataFrame) -> list[Body]:
    """What the agent says of the same samples in this process."""
    agent = Agent(bundle)
    values = samples.select(bundle.manifest.channel_names).to_numpy()
    times = samples["time"].dt.epoch("us").to_list()
    return [
        message
        for at_us, row in zip(times, values, strict=True)
        for message in agent.process(at_us, row)
    ]


def by_backtest(
    bundle: Bundle, asset: AssetConfig, samples: pl.DataFrame, folder: Path
) -> list[str]:
    """Times of the rows at which a backtest's alarm is raised, and of those at which it ends."""
    columns = {name: name for name in bundle.manifest.channel_names}
    watched = watch({"it": bundle}, asset, [with_row_numbers(samples)], columns, folder=folder)
    parts = sorted(watched["it"].parts.glob("*"))
    found = pl.concat([pl.read_parquet(part) for part in parts])
    changed = found.filter(pl.col("alarm") != pl.col("alarm").shift(1, fill_value=False))
    return [to_iso(at_us) for at_us in changed["time"].dt.epoch("us").to_list()]


def test_alarms_by_mqtt_are_those_of_the_backtest(
    candidate: Candidate, plant: AssetConfig, samples: pl.DataFrame, served: Any, tmp_path: Path
) -> None:
    expected = by_agent(candidate.bundle, samples)
    found = served(bodies(samples, candidate.bundle.manifest.channel_names), len(expected))
    assert found == expected
    alarms = [
        str(one["transition_at"])
        for one in expected
        if one["kind"] == "alarm" and one["state"] in {"unacknowledged", "rtn_unacknowledged"}
    ]
    assert len(alarms) > 20
    assert by_backtest(candidate.bundle, plant, samples, tmp_path / "rows") == alarms


@pytest.fixture
def served(candidate: Candidate, agent: Any, peer: Any, wait_for: Any) -> Served:
    """Publish payloads; what a process with that bundle says of them, so much of it."""
    text = re.sub('bundle = ".*"', f'bundle = "{candidate.path}"', agent.config.read_text())
    text = text.replace("plant/pump_07", TOPIC).replace('time_format = "s"', 'time_format = "us"')
    agent.config.write_text(re.sub("keys = {.*", "", text))

    def serve(payloads: list[str], count: int) -> list[Body]:
        with peer("collector", "faultwatch/#") as collector, peer("gateway") as gateway:
            agent.start()
            wait_for(lambda: collector.told("health"), "the agent")
            sent = [gateway.client.publish(TOPIC, payload, qos=1) for payload in payloads]
            sent[-1].wait_for_publish(120)
            wait_for(
                lambda: len(collector.told("alarm", "event")) >= count, "alarms", patience_s=120
            )
            time.sleep(1.0)  # nothing more
            found: list[Body] = collector.told("alarm", "event")
        assert agent.end(signal.SIGTERM) == 0
        return found

    return serve
