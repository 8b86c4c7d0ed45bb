"""A file that is read while it is written: whatever is cut off, nothing is lost or guessed."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.channels import Channel
from features.csv_text import CUT
from features.schema import check_samples
from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.ingest import Ingested, ingest_asset

CHANNELS = (Channel(name="flow", tag="FT"), Channel(name="pressure", tag="PT"))
HEADERS = {"wide": b"time,flow,pressure", "long": b"time,tag,value"}

times = st.sampled_from(
    [
        *(f"2026-05-01T08:0{minute}:00Z".encode() for minute in range(4)),
        b"2026-05-01 08:05",
        b"2026-05-01T10:06+02:00",
        b'"2026-05-01T08:07:00Z"',
        b"",
        b"soon",
        b"\xff",
    ]
)
plain = [b"1", b"2.5", b"12345", b"", b"NaN", b"Bad", b"inf", b"-1e400", b" 3 ", b"off", b"1,5"]
# No quote that opens and is not closed: until its end has come nobody can tell it from a stray one,
# whose lines are rows. Rows that were used stay. The case stray_quote says what is done.
quoted = [b'"4"', b'5"', b'"two\nlines"', b"\xc3\xa9", b"\xe9", b"\r", b"0x1"]
values = st.sampled_from(plain + quoted)
tags = st.sampled_from([b"FT", b"PT", b" FT ", b"TT", b"", b'"PT"', b'"F\nT"'])
ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n"])
wide_rows = st.tuples(times, values, values)
long_rows = st.tuples(times, tags, values)
ragged = st.lists(values, max_size=5).map(tuple)


def texts(row: st.SearchStrategy[tuple[bytes, ...]]) -> st.SearchStrategy[bytes]:
    line = st.tuples(st.one_of(row, row, row, ragged).map(b",".join), ends).map(b"".join)
    return st.lists(line, max_size=8).map(b"".join)


@pytest.fixture(scope="module")
def folders() -> Iterator[Iterator[Path]]:
    """New folders for the examples of one test."""

    def make(root: str) -> Iterator[Path]:
        number = 0
        while True:
            number += 1
            folder = Path(root) / str(number)
            folder.mkdir()
            yield folder

    with TemporaryDirectory() as root:
        yield make(root)


def asset_in(folder: Path, **source: Any) -> AssetConfig:
    document = {
        "asset": {"id": "pump_07"},
        "source": {"files": str(folder / "*.csv"), **source},
        "channel": [channel.model_dump() for channel in CHANNELS],
        "window": {"sample_period_s": 60.0},
    }
    return AssetConfig.model_validate(document)


def ingest(asset: AssetConfig, folder: Path) -> tuple[Ingested, Historian]:
    historian = Historian(folder / "historian", "pump_07", CHANNELS)
    done = ingest_asset(asset, historian)
    check_samples(historian.read(), CHANNELS)
    return done, historian


def lines_of(data: bytes) -> int:
    """Lines that say something."""
    return sum(1 for line in data.split(b"\n") if b"," in line or line.strip())


def check_whole(data: bytes, done: Ingested, historian: Historian) -> None:
    """Every line is counted once, and the counts are those of the tables."""
    if b'"' not in data:
        assert done.counts.rows == lines_of(data)
    assert done.counts.kept == historian.read().height
    reasons = historian.read_quarantine()["reason"]
    unusable = reasons.filter(~reasons.str.starts_with("superseded"))
    assert len(unusable) == done.counts.quarantined


def refused_in(historian: Historian) -> set[tuple[int, str, str]]:
    """Line, reason and text of what could not be used."""
    rows = historian.read_quarantine().select("line", "reason", "raw").rows()
    return {
        (line, reason.removesuffix(CUT), raw)
        for line, reason, raw in rows
        if not reason.startswith("superseded")
    }


def check_cut(folder: Path, layout: str, data: bytes, cut: int) -> None:
    """A file in two steps becomes the table of the whole one."""
    header = HEADERS[layout] + b"\n"
    whole, grown = folder / "whole", folder / "grown"
    for place in (whole, grown):
        place.mkdir()
    (whole / "a.csv").write_bytes(header + data)
    expected, reference = ingest(asset_in(whole, layout=layout), whole)
    check_whole(data, expected, reference)
    asset = asset_in(grown, layout=layout)
    (grown / "a.csv").write_bytes((header + data)[:cut])
    ingest(asset, grown)
    (grown / "a.csv").write_bytes(header + data)
    done, historian = ingest(asset, grown)
    # A line cut so that it could be used, and then refused as a whole, leaves what it said: a row
    # that was taken in is never taken back.
    cut_line = (header + data)[:cut].count(b"\n") + 1
    if cut_line not in {line for line, _, _ in refused_in(reference)}:
        assert historian.read().equals(reference.read())
    assert done.counts.rows >= expected.counts.rows
    assert done.failures == expected.failures
    assert refused_in(reference) <= refused_in(historian)
    again, _ = ingest(asset, grown)
    assert again.counts == done.counts


cuts = st.floats(0.0, 1.0)


def check_share(folder: Path, layout: str, data: bytes, share: float) -> None:
    check_cut(folder, layout, data, round(share * (len(HEADERS[layout]) + 1 + len(data))))


@settings(max_examples=15)
@given(data=texts(wide_rows), share=cuts)
def test_a_wide_file_that_grows_is_the_whole_file(
    folders: Iterator[Path], data: bytes, share: float
) -> None:
    check_share(next(folders), "wide", data, share)


@settings(max_examples=15)
@given(data=texts(long_rows), share=cuts)
def test_a_long_file_that_grows_is_the_whole_file(
    folders: Iterator[Path], data: bytes, share: float
) -> None:
    check_share(next(folders), "long", data, share)


@pytest.mark.slow
@settings(max_examples=200)
@given(layout=st.sampled_from(["wide", "long"]), data=st.data(), share=cuts)
def test_any_file_that_grows_is_the_whole_file(
    folders: Iterator[Path], layout: str, data: st.DataObject, share: float
) -> None:
    text = data.draw(texts(wide_rows if layout == "wide" else long_rows))
    check_share(next(folders), layout, text, share)
