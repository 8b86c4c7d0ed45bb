"""One process that reads whatever it is given, and says what was not as it must be.

readers.py writes one line of JSON for each input: its folder, with ``asset.toml`` and ``step_1``,
``step_2`` ..., and what shall be tried. The answer is one line of JSON, too.
"""

import faulthandler
import gzip
import json
import re
import shutil
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from features import blocks, csv_text
from features.channels import Channel
from features.first_look.pieces import InspectionError
from features.rows import CELLS_SCHEMA, LONGEST_RAW
from features.schema import LINE, QUARANTINE_SCHEMA, SchemaError, check_rows, check_samples
from pipelines import reading
from pipelines.config import AssetConfig, ConfigError, load_asset
from pipelines.data_files import InitError
from pipelines.historian import Historian, HistorianError
from pipelines.ingest import Ingested, IngestError, ingest_asset
from pipelines.init import init_files
from pipelines.ledger import Progress
from pipelines.reading import File, ReadError, find_files, read_file
from pipelines.tables import TableError

EXPECTED = (
    ConfigError,
    HistorianError,
    IngestError,
    InitError,
    InspectionError,
    ReadError,
    SchemaError,
    TableError,
)
LONGEST_SENTENCE = 1_000
SMALL_BLOCK, MOST_BLOCKS = 5, 10
Check = Callable[[pl.DataFrame, tuple[Channel, ...]], None]
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class BrokenRuleError(Exception):
    """Something that must never be."""


def peak_mb() -> float:
    """The most resident memory that this process ever had, as Linux counts it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def check_that(holds: bool, what: str) -> None:  # noqa: FBT001 - a condition
    if not holds:
        raise BrokenRuleError(what)


def check_sentence(sentence: str) -> None:
    """An error or a report is one line that a person can read."""
    check_that(bool(sentence.strip()), "an empty sentence")
    check_that(not CONTROL.search(sentence), f"a sentence with control characters: {sentence!r}")
    check_that(len(sentence) <= LONGEST_SENTENCE, f"a sentence without end: {sentence[:200]}")
    check_that("Traceback" not in sentence, f"a traceback: {sentence[:200]}")


@dataclass
class Rows:
    """All that was read of a file."""

    samples: pl.DataFrame
    quarantined: pl.DataFrame
    unlisted: int = 0
    bad: int = 0
    failure: str = ""

    def lines(self) -> pl.Series:
        """Places of rows; the samples of a file that has none have no columns."""
        parts = [self.quarantined["line"]]
        return pl.concat([*parts, self.samples[LINE]] if self.samples.width else parts)


@dataclass
class Trial:
    """One input: what is tried with it, and what came of it."""

    folder: Path
    ingest: bool
    init: bool
    outcomes: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Try all of it.

        Raises:
            BrokenRuleError: something is not as it must be.
        """
        with self._expected():
            asset = load_asset(self.folder / "asset.toml")
            historian = Historian(self.folder / "historian", asset.asset.id, asset.channel)
            for number, step in enumerate(sorted(self.folder.glob("step_*"))):
                shutil.copytree(step, self.folder / "data", dirs_exist_ok=True)
                for file in find_files(asset.source.files or ""):
                    self._read(file, asset)
                if self.ingest:
                    self._ingest(asset, historian, is_first=number == 0)
        if self.init:
            with self._expected():
                self._init()

    @contextmanager
    def _expected(self) -> Iterator[None]:
        try:
            yield
        except EXPECTED as error:
            self._note(str(error))

    def _note(self, sentence: str) -> None:
        check_sentence(sentence)
        self.outcomes.append(sentence)

    def _read(self, file: File, asset: AssetConfig) -> None:
        """A file, in three ways that must come to the same."""
        rows = read_rows(file, asset)
        self._note(rows.failure or f"{rows.samples.height} {rows.quarantined.height}")
        check_read(rows, asset)
        data = unpacked(file.path)
        if data is None:
            return
        if b"\r" in data.replace(b"\r\n", b""):
            return  # polars takes such a CR for nothing
        with patched(csv_text, "_is_plain", lambda *_: False):
            check_same(rows, read_rows(file, asset), "line by line")
        if b'"' not in data and asset.source.encoding == "utf-8":
            most = max(SMALL_BLOCK, data.count(b"\n") // MOST_BLOCKS)
            with (
                patched(reading, "most_rows", lambda *_: most),
                patched(blocks, "BLOCK_BYTES", 1 << 20),
            ):
                check_same(rows, read_rows(file, asset), "in small blocks")

    def _ingest(self, asset: AssetConfig, historian: Historian, *, is_first: bool) -> None:
        done = self._ingested(asset, historian)
        stored, quarantined = historian.read(), historian.read_quarantine()
        check_frame(check_samples, stored, asset)
        if is_first:
            check_counts(done, stored, quarantined)
        again = self._ingested(asset, historian)
        check_that(stored.equals(historian.read()), "a second ingest changed samples")
        same = quarantined.equals(historian.read_quarantine())
        check_that(same, "a second ingest changed the quarantine")
        counts = [[(one.source, one.counts) for one in run.sources] for run in (done, again)]
        check_that(counts[0] == counts[1], f"a second ingest counts otherwise: {counts}")

    def _ingested(self, asset: AssetConfig, historian: Historian) -> Ingested:
        done = ingest_asset(asset, historian, say=self.said.append)
        for sentence in (*done.failures, *self.said):
            check_sentence(sentence)
        return done

    def _init(self) -> None:
        made = init_files([str(self.folder / "data")], out=self.folder / "made.toml")
        for line in made.summary.splitlines():
            check_sentence(line)
        asset = load_asset(made.path)
        for file in find_files(asset.source.files or ""):
            rows = read_rows(file, asset)
            check_read(rows, asset)
            self._note(f"init: {rows.failure or rows.samples.height}")


def unpacked(path: Path) -> bytes | None:
    """Bytes of a file; None of a damaged one."""
    data = path.read_bytes()
    try:
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (EOFError, OSError, zlib.error):
        return None


def read_rows(file: File, asset: AssetConfig) -> Rows:
    """All parts of a file, as far as it can be read."""
    found = Rows(pl.DataFrame(), pl.DataFrame(schema=QUARANTINE_SCHEMA))
    parts = read_file(file, asset.channel, asset.source, known=Progress(), digest=1)
    try:
        for part in parts:
            split = part.split
            if split.samples.width:
                frames = [found.samples] if found.samples.width else []
                found.samples = pl.concat([*frames, split.samples])
            found.quarantined = pl.concat([found.quarantined, split.quarantined])
            found.unlisted += sum(split.unlisted.values())
            found.bad += sum(split.bad.values())
    except (ReadError, SchemaError) as error:
        found.failure = str(error)
    return found


def check_frame(check: Check, samples: pl.DataFrame, asset: AssetConfig) -> None:
    """Here, what a source may not be is what the reader may not make of it."""
    try:
        check(samples, asset.channel)
    except SchemaError as error:
        raise BrokenRuleError(str(error)) from error


def check_read(rows: Rows, asset: AssetConfig) -> None:
    """Rows are what the tables take, and none is there twice."""
    lines = rows.lines()
    check_that(lines.is_unique().all(), "a row is there twice")
    check_that(not lines.null_count() and (lines > 0).all(), "a row has no line")
    for reason in rows.quarantined["reason"]:
        check_that(bool(reason), "a row is in quarantine without a reason")
    raw = rows.quarantined["raw"].str.len_chars()
    check_that((raw <= LONGEST_RAW).all(), "a row in quarantine is too long")
    if asset.source.layout == "wide" and rows.samples.width:
        check_frame(check_rows, rows.samples.drop(LINE), asset)
    elif rows.samples.width:
        check_that(rows.samples.schema == pl.Schema(CELLS_SCHEMA), "cells of another schema")
        check_that(not rows.samples["time"].null_count(), "a cell has no time")
        check_that(not rows.samples["channel"].null_count(), "a cell has no channel")
        check_that(bool(rows.samples["value"].is_finite().all()), "a cell is not finite")


def check_same(one: Rows, other: Rows, how: str) -> None:
    """Two ways of reading a file come to the same."""
    check_that(one.failure == other.failure, f"{how}: {one.failure} {other.failure}")
    counts = [(rows.unlisted, rows.bad) for rows in (one, other)]
    check_that(counts[0] == counts[1], f"{how}: {counts}")
    check_that(one.samples.equals(other.samples), f"{how}: {one.samples} {other.samples}")
    frames = [rows.quarantined.sort("line") for rows in (one, other)]
    check_that(frames[0].equals(frames[1]), f"{how}: {frames[0].rows()} {frames[1].rows()}"[:2000])


def check_counts(done: Ingested, stored: pl.DataFrame, quarantined: pl.DataFrame) -> None:
    """The counts are those of the tables, as long as no row was read again."""
    refused = quarantined.filter(~pl.col("reason").str.starts_with("superseded"))
    found, counted = (stored.height, refused.height), (done.counts.kept, done.counts.quarantined)
    check_that(found == counted, f"rows and quarantine have {found}, expected {counted}")


@contextmanager
def patched(module: object, name: str, value: object) -> Iterator[None]:
    """Another value, for a while."""
    kept = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, kept)


def answer(request: str) -> dict[str, object]:
    asked = json.loads(request)
    trial = Trial(Path(asked["folder"]), ingest=asked["ingest"], init=asked["init"])
    problem = ""
    try:
        trial.run()
    except BrokenRuleError as rule:
        problem = str(rule)
    except BaseException:  # noqa: BLE001 - a panic of polars is no Exception
        problem = traceback.format_exc()
    return {"problem": problem, "outcomes": trial.outcomes, "peak_mb": peak_mb()}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    faulthandler.enable()  # readers.py ends what hangs with a signal that shows where it does
    say("ready")
    for request in sys.stdin:
        say(json.dumps(answer(request)))


if __name__ == "__main__":
    main()
