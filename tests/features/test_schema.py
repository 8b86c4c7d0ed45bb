from datetime import UTC, datetime

import polars as pl
import pytest

from features.channels import Channel
from features.schema import SchemaError, check_rows, check_samples, samples_schema
from features.times import TIME

CHANNELS = (Channel(name="flow", tag="FT-101"), Channel(name="pressure"))
AT = datetime(2026, 5, 1, 8, tzinfo=UTC)


def test_a_samples_frame_has_times_and_numbers() -> None:
    schema = {"time": pl.Datetime("us", "UTC"), "flow": pl.Float64, "pressure": pl.Float64}
    assert samples_schema(CHANNELS) == schema


def good() -> pl.DataFrame:
    return pl.DataFrame(
        {"time": [AT, AT.replace(hour=9)], "flow": [1.0, None], "pressure": [2.0, 3.0]},
        schema=samples_schema(CHANNELS),
    )


def test_a_samples_frame_passes() -> None:
    check_samples(good(), CHANNELS)
    check_samples(good().clear(), CHANNELS)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (good().drop("flow"), "expected time Datetime.*, flow Float64, pressure Float64"),
        (
            good().select("time", "pressure", "flow"),
            "the columns are time .* pressure F.*, flow",
        ),
        (good().with_columns(note=pl.lit(1)), "the columns are .*, note Int32; expected"),
        (good().cast({"flow": pl.Float32}), "flow Float32"),
        (pl.DataFrame(), "the columns are none; expected"),
        (good().with_columns(time=pl.lit(None, dtype=TIME)), "a time is null"),
        (good().reverse(), "doubles or disorder, expected them sorted and unique"),
        (good()[[0, 0]], "doubles or disorder, expected them sorted and unique"),
        (good().with_columns(flow=pl.lit(float("nan"))), "channel 'flow' has NaN or infinity"),
        (good().with_columns(pressure=pl.lit(float("inf"))), "channel 'pressure' has NaN or inf"),
    ],
)
def test_anything_else_is_refused(samples: pl.DataFrame, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        check_samples(samples, CHANNELS)


def test_rows_on_their_way_may_be_out_of_order_and_doubled() -> None:
    check_rows(good().reverse(), CHANNELS)
    check_rows(good()[[0, 0]], CHANNELS)
    with pytest.raises(SchemaError, match="channel 'flow' has NaN or infinity, expected null"):
        check_rows(good().with_columns(flow=pl.lit(float("nan"))), CHANNELS)
