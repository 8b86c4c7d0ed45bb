import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.channels import Channel
from features.merging import MergeCounts
from features.schema import samples_schema
from pipelines.historian import Historian, HistorianError

FLOW, PRESSURE = Channel(name="flow", unit="m3/h"), Channel(name="pressure", unit="bar")
CHANNELS = (FLOW, PRESSURE)
START = datetime(2026, 1, 31, 23, 58, tzinfo=UTC)
Row = tuple[int, float | None, float | None]


def frame(rows: list[Row]) -> pl.DataFrame:
    """Rows (minute, flow, pressure); the third minute begins a month."""
    return pl.DataFrame(
        [(START + timedelta(minutes=minute), *values) for minute, *values in rows],
        schema=samples_schema(CHANNELS),
        orient="row",
    )


def in_folder(folder: Path, channels: tuple[Channel, ...] = CHANNELS) -> Historian:
    return Historian(folder, "pump_07", channels)


@pytest.fixture
def historian(tmp_path: Path) -> Historian:
    return in_folder(tmp_path)


LEVEL = Channel(name="level", unit="m")
KPA = PRESSURE.model_copy(update={"unit": "kPa"})
NEW = "channel 'level' is new, the historian has no such column; if another channel was renamed, "
CHANGED = (
    "channel 'pressure' has unit 'kPa' in the asset file, but its values are in 'bar'; restore the "
    "unit; if the values did change, give the channel a new name; if only the spelling did, run"
)
GONE = "channel 'pressure' is in the historian, but not in the asset file; restore it, or, if it"


@pytest.mark.parametrize(
    ("channels", "messages"),
    [
        ((FLOW, PRESSURE, LEVEL), [NEW]),
        ((FLOW,), [GONE]),
        ((FLOW, LEVEL), [NEW, GONE]),
        ((FLOW, KPA), [CHANGED]),
    ],
)
def test_other_channels_than_before_are_a_choice(
    tmp_path: Path, channels: tuple[Channel, ...], messages: list[str]
) -> None:
    in_folder(tmp_path).merge(frame([(0, 1.0, 2.0)]), source="a")
    other = in_folder(tmp_path, channels)
    row = pl.DataFrame(
        [(START, *[1.0] * len(channels))], schema=samples_schema(channels), orient="row"
    )
    with pytest.raises(HistorianError) as caught:
        other.check_schema()
    assert str(caught.value).startswith("pump_07: ")
    for message in messages:
        assert message in str(caught.value)
    with pytest.raises(HistorianError, match=re.escape(str(caught.value))):
        other.read()
    with pytest.raises(HistorianError, match=re.escape(str(caught.value))):
        list(other.slices())
    with pytest.raises(HistorianError, match=re.escape(str(caught.value))):
        other.merge(row, source="b")
    assert in_folder(tmp_path).read().equals(frame([(0, 1.0, 2.0)]))


def test_an_accepted_channel_begins_empty_and_older_versions_stay_readable(tmp_path: Path) -> None:
    before = in_folder(tmp_path)
    before.merge(frame([(0, 1.0, 2.0)]), source="a")
    version = before.version()
    historian = in_folder(tmp_path, (FLOW, LEVEL, PRESSURE))
    historian.accept(["level"])
    historian.check_schema()
    assert historian.read().rows() == [(START, 1.0, None, 2.0)]
    row = pl.DataFrame(
        [(START, None, 3.0, None)], schema=samples_schema(historian.channels), orient="row"
    )
    assert historian.merge(row, source="b") == MergeCounts(filled=1)
    assert historian.read().rows() == [(START, 1.0, 3.0, 2.0)]
    assert historian.read(version=version).rows() == [(START, 1.0, None, 2.0)]


def test_an_accepted_loss_keeps_the_history(tmp_path: Path) -> None:
    in_folder(tmp_path).merge(frame([(0, 1.0, 2.0)]), source="a")
    historian = in_folder(tmp_path, (FLOW,))
    historian.accept(["pressure"])
    rows = pl.DataFrame(
        [(START, 1.5), (START + timedelta(minutes=1), 3.0)],
        schema=samples_schema((FLOW,)),
        orient="row",
    )
    assert historian.merge(rows, source="b") == MergeCounts(kept=1, superseded=1)
    assert historian.read()["flow"].to_list() == [1.5, 3.0]
    again = in_folder(tmp_path)
    again.check_schema()
    assert again.read().equals(frame([(0, 1.5, 2.0), (1, 3.0, None)]))


def test_an_accepted_unit_is_remembered(tmp_path: Path) -> None:
    in_folder(tmp_path).merge(frame([(0, 1.0, 2.0)]), source="a")
    other = in_folder(tmp_path, (FLOW, PRESSURE.model_copy(update={"unit": "Bar"})))
    other.accept(["pressure"])
    other.check_schema()
    assert other.read()["pressure"].to_list() == [2.0]
    with pytest.raises(HistorianError, match="has unit 'bar' in the asset file, but its values"):
        in_folder(tmp_path).check_schema()


def test_a_name_that_nobody_knows_cannot_be_accepted(historian: Historian) -> None:
    historian.merge(frame([(0, 1.0, 2.0)]), source="a")
    with pytest.raises(HistorianError, match="--accept lvl: no channel of the asset file or"):
        historian.accept(["lvl"])
