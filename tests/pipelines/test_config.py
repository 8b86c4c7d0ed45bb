import copy
from pathlib import Path
from typing import Any

import pytest

from features.channels import channel_names
from pipelines.config import AssetConfig, ConfigError, load_asset, shipped_assets
from pipelines.live import LiveConfig

GOOD = """
[asset]
id = "pump_07"
[source]
files = "data/*.csv"
labels = "labels.csv"
[window]
sample_period_s = 60.0
[[channel]]
name = "flow"
[[channel]]
name = "speed"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "pump_07.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_asset(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("asset_id", sorted(shipped_assets()))
def test_every_shipped_asset_loads(asset_id: str) -> None:
    asset = load_asset(asset_id)
    assert asset.asset.id == asset_id
    assert Path(asset.source.files or "").is_absolute()
    assert asset.source.labels is None or Path(asset.source.labels).is_file()


def test_there_is_a_shipped_asset() -> None:
    assert "tennessee_eastman" in shipped_assets()


def test_relative_paths_are_seen_from_the_file(tmp_path: Path) -> None:
    source = load_asset(write(tmp_path, GOOD)).source
    assert source.files == str(tmp_path / "data/*.csv")
    assert source.labels == str(tmp_path / "labels.csv")


def test_no_labels_stay_none(tmp_path: Path) -> None:
    text = GOOD.replace('labels = "labels.csv"\n', "")
    assert load_asset(write(tmp_path, text)).source.labels is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id = "pump_07"', 'id = "Pump 7"', "asset.id: String should match pattern"),
        ('id = "pump_07"', "", "asset.id: Field required"),
        ("sample_period_s = 60.0", "", "window.sample_period_s: Field required"),
        ("sample_period_s", "sampling_s", "window.sample_period_s: Field required (and 1 more)"),
        ("= 60.0", "= 'fast'", "window.sample_period_s: Input should be a valid number, unable to"),
        ("= 60.0", "= 'fast'", "found 'fast'"),
        ("= 60.0", "= 60.0\nlenses = 3", "window.lenses: Extra inputs are not permitted, found 3"),
        ("= 60.0", "= 60.0\nlength = 3\nhop = 4", "[window] hop = 4 is greater than length = 3"),
        ("= 60.0", "= 60.0\nmin_channels = 3", "[window] min_channels = 3 is more than the 2 chan"),
        ('"speed"', '"flow"', "[[channel]] name 'flow' is used twice; channel names are unique"),
        ('"speed"', '"time"', "channel.1: channel 'time' has the name of a column of ours"),
        ('"speed"', '"Flow"', "names 'flow' and 'Flow' differ only in capital letters"),
        (
            '"speed"',
            '"speed"\nfollows = "target"',
            "[[channel]] 'speed' follows = 'target' is not a channel of this asset; channels: flow",
        ),
        (
            '"speed"',
            '"speed"\n[regime]\nrunning = [{channel = "rpm", above = 1}]',
            "[regime] running channel = 'rpm' is not a channel of this asset; channels: flow",
        ),
        (
            '"speed"',
            '"speed"\n[regime]\nrunning = [{channel = "speed"}]',
            "channel 'speed' needs 'above', 'below' or both",
        ),
        (
            '"speed"',
            '"speed"\n[alarm]\npriority = "urgent"',
            "alarm.priority: Input should be",
        ),
        ('"speed"', '"speed"\n[retrain]\nlookback_days = 0', "retrain.lookback_days: Input should"),
        ('"speed"', '"speed"\n[alrm]\n', "alrm: Extra inputs are not permitted"),
        ("[asset]", "[asset", "not a TOML file: "),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert message in refusal(tmp_path, GOOD.replace(old, new, 1))


def test_an_asset_without_channels_is_refused(tmp_path: Path) -> None:
    assert "channel: Field required" in refusal(tmp_path, GOOD.split("[[channel]]", maxsplit=1)[0])


@pytest.mark.parametrize(
    ("live", "sentence"),
    [
        ("topic = ''", "live.topic: String should have at least 1 character"),
        ("topic = 'plant/#'", "[live] topic is 'plant/#', expected a topic without '+' and '#'"),
        ("topic = 'p/x{channel}'", "expected {channel} as one whole level of it"),
        ("topic = 'p'\nkeys = {mood = 'm'}", "[live] keys names 'mood', which this asset does not"),
        ("topic = 'p'\nkeys = {flow = 'speed'}", "two channels have the same key"),
        ("topic = 'p'\ntime_format = 'ns'", "live.time_format: Input should be 'iso', 's'"),
    ],
)
def test_how_samples_look_at_the_broker_must_fit_the_channels(
    tmp_path: Path, live: str, sentence: str
) -> None:
    assert sentence in refusal(tmp_path, f"{GOOD}[live]\n{live}\n")


def test_a_file_that_is_no_utf8_says_how_to_save_it(tmp_path: Path) -> None:
    path = tmp_path / "pump_07.toml"
    path.write_bytes(GOOD.replace("data", "d\xe4ta").encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8 text; save the asset file as UTF-8"):
        load_asset(path)


def test_an_unknown_id_lists_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no asset file .*; shipped: .*tennessee_eastman"):
        load_asset(tmp_path / "nothing.toml")


def test_all_sections_of_an_asset_are_frozen() -> None:
    live = {"live": LiveConfig(topic="plant/tennessee_eastman")}
    asset = load_asset("tennessee_eastman").model_copy(update=live)
    before = copy.deepcopy(asset)
    sections: list[Any] = [asset, *(getattr(asset, name) for name in AssetConfig.model_fields)]
    for section in sections:
        if not isinstance(section, tuple):
            with pytest.raises(ValueError, match="frozen"):
                setattr(section, next(iter(type(section).model_fields)), None)
    assert asset == before
    assert len(set(channel_names(asset.channel))) == len(asset.channel)
