"""Ingest flow: files or a query in, samples and quarantine in the historian out; no row is lost."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from features.csv_text import CUT
from features.merging import MergeCounts
from features.schema import SchemaError
from features.wording import as_shown
from pipelines.config import AssetConfig, load_asset
from pipelines.database import DatabaseError
from pipelines.historian import Historian, MovedOn
from pipelines.ledger import Progress, Source
from pipelines.quality import check_quality, quality_artifacts
from pipelines.querying import SOURCE_NAME, read_rows
from pipelines.reading import File, Part, ReadError, find_files, is_unchanged, read_file
from pipelines.settings import Settings

MOST_LISTED = 10
SPEAK_EVERY = 10
"""Parts between two sentences on how far a long source is read."""
Say = Callable[[str], None]
Parts = Callable[[Progress], Iterator[Part]]


class IngestError(Exception):
    """A source that cannot be read, or not to its end; the message says which and what to do."""


@dataclass(frozen=True)
class SourceCounts:
    """What became of the rows of one source."""

    source: str
    counts: MergeCounts
    """Of all rows that it has, whenever they were read."""
    new: MergeCounts = field(default_factory=MergeCounts)
    """Of those read now."""
    bad: int = 0
    """Values of all its rows that are missing because their quality is not good."""


@dataclass(frozen=True)
class Ingested:
    """What an ingest did."""

    sources: tuple[SourceCounts, ...]
    failures: tuple[str, ...]
    """A sentence for each source that was not read to its end."""
    span: tuple[datetime, datetime] | None
    """First and last time that it brought; None = none."""

    @property
    def counts(self) -> MergeCounts:
        """What became of all rows of all sources."""
        return sum((one.counts for one in self.sources), MergeCounts())


def ingest_asset(
    asset: AssetConfig,
    historian: Historian,
    *,
    database: str | None = None,
    accept: Sequence[str] = (),
    anew: bool = False,
    say: Say = lambda _: None,
) -> Ingested:
    """Read what is new or changed in an asset's files, or in its database, into the historian.

    A source that cannot be read does not stop the others.

    Args:
        asset: says where the samples are, and how they are written.
        historian: where the samples go.
        database: address of the database, where the asset file has a query.
        accept: channels that are new, gone or of another unit, and may be.
        anew: forget what was read, and read everything again.
        say: takes a sentence for each source.

    Raises:
        IngestError: there is no file.
        pipelines.historian.HistorianError: the channels, or the way that times are written, are not
            those of the rows that are there.
    """
    if anew:
        historian.start_anew()
    historian.accept(accept)
    historian.check_schema()
    meaning = _digest(asset.source.meaning)
    historian.check_meaning(meaning)
    run = _Run(asset, historian, meaning, say)
    sources = list(_sources(asset, database))
    historian.sources.register([name for name, _, _ in sources])
    for name, parts, is_known in sources:
        run.take(name, parts, is_known)
    return run.result()


def _sources(
    asset: AssetConfig, database: str | None
) -> Iterator[tuple[str, Parts, Callable[[Progress], bool]]]:
    """Each source: its name, what reads on in it, and what says that nothing is new."""
    options = asset.source.model_dump(exclude={"files", "labels", "overlap_s"})
    words = [(channel.name, channel.tag, channel.former_tags) for channel in asset.channel]
    digest = _digest(repr((options, words)))
    if asset.source.sql is not None:

        def rows(known: Progress) -> Iterator[Part]:
            return read_rows(asset, database, known=known, digest=digest)

        yield SOURCE_NAME, rows, lambda _: False
        return
    for file in _files(asset):

        def parts(known: Progress, file: File = file) -> Iterator[Part]:
            return read_file(file, asset.channel, asset.source, known=known, digest=digest)

        def is_known(known: Progress, file: File = file) -> bool:
            return is_unchanged(file, known, digest)

        yield file.name, parts, is_known


def _files(asset: AssetConfig) -> list[File]:
    files = find_files(asset.source.files or "")
    if not files and asset.live is None:  # a live asset has its samples from `collect`
        raise IngestError(
            f"{asset.asset.id}: no file matches '{asset.source.files}'; correct [source] files"
        )
    return files


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())


@dataclass
class _Notes:
    """What is noticed while a source is read."""

    after: Progress
    """How far it is read by now."""
    restarted: bool = False
    """Whether it is read again from its beginning."""
    bad: Counter[str] = field(default_factory=Counter)
    """Values of bad quality, by channel."""
    may_be_cut: bool = False
    """Whether its last line may be cut."""
    failure: str = ""
    """Why it was not read to its end."""


class _Run:
    """One ingest: its sources one after the other."""

    def __init__(self, asset: AssetConfig, historian: Historian, meaning: int, say: Say) -> None:
        self._asset = asset
        self._historian = historian
        self._meaning = meaning
        self._say = say
        self._done: list[SourceCounts] = []
        self._failures: list[str] = []
        self._times: list[datetime] = []
        self._reported: set[str] = set()
        self._unchanged = 0
        self._is_meaning_noted = False
        self._finished = historian.finished()

    def take(self, name: str, parts: Parts, is_known: Callable[[Progress], bool]) -> None:
        """Read on in a source, whoever else does at the same time."""
        if (past := self._finished.get(name)) and is_known(past):
            self._done.append(SourceCounts(name, past.counts, bad=past.bad))
            self._unchanged += 1
            return
        source = self._historian.sources.of(name)
        before = self._historian.progress(source)
        notes = _Notes(after=before)
        while True:
            try:
                self._read_on(source, parts, notes)
            except MovedOn:
                notes.after = self._historian.progress(source)
                continue
            except (DatabaseError, ReadError, SchemaError) as error:
                notes.failure = str(error)
                self._failures.append(notes.failure)
            break
        self._report(name, before, notes)

    def result(self) -> Ingested:
        """What was done."""
        self._historian.sources.settle()
        if self._unchanged:
            files = _number(len(self._done), "file")
            self._say(f"{self._unchanged} of {files} unchanged, and not read")
        span = (min(self._times), max(self._times)) if self._times else None
        return Ingested(tuple(self._done), tuple(self._failures), span)

    def _read_on(self, source: Source, parts: Parts, notes: _Notes) -> None:
        known = notes.after
        for number, part in enumerate(_read_ahead(parts(known)), start=1):
            if not self._is_meaning_noted:
                self._historian.note_meaning(self._meaning)
                self._is_meaning_noted = True
            base = Progress() if part.restarts else known
            after = replace(part.after, **asdict(base.counts), bad=base.bad)
            notes.restarted |= part.restarts and known.counts.rows > 0
            known = self._historian.merge_part(part.split, source=source, before=known, after=after)
            notes.after = known
            self._notice(source.name, part, notes)
            if number % SPEAK_EVERY == 0:
                self._say(f"{source.name}: {known.counts.rows} rows so far")

    def _notice(self, name: str, part: Part, notes: _Notes) -> None:
        """Say once what a person should know of these rows."""
        split = part.split
        if split.samples.height:
            times = split.samples["time"]
            self._times += [times.min(), times.max()]  # type: ignore[list-item]  # times of a frame
        if ignored := sorted(set(part.ignored) - self._reported):
            self._reported |= set(ignored)
            self._say(f"{name}: columns without a channel are ignored: {_listed(ignored)}")
        if unlisted := sorted(set(split.unlisted) - self._reported):
            self._reported |= set(unlisted)
            self._say(f"{name}: rows of tags without a channel are ignored: {_listed(unlisted)}")
        notes.bad.update(split.bad)
        notes.may_be_cut = bool(split.quarantined["reason"].str.ends_with(CUT).any())

    def _report(self, name: str, before: Progress, notes: _Notes) -> None:
        counts = notes.after.counts
        anew = notes.restarted or any(
            asdict(counts)[fate] < number for fate, number in asdict(before.counts).items()
        )
        earlier = MergeCounts() if anew else before.counts
        new = MergeCounts(
            **{fate: number - asdict(earlier)[fate] for fate, number in asdict(counts).items()}
        )
        self._done.append(SourceCounts(name, counts, new, notes.after.bad))
        if notes.failure:
            self._say(notes.failure)
        for sentence in _sentences(counts, new, notes, anew=anew):
            self._say(f"{name}: {sentence}")


def _sentences(
    counts: MergeCounts, new: MergeCounts, notes: _Notes, *, anew: bool
) -> Iterator[str]:
    """What became of a source's rows, for people."""
    rows = _number(counts.rows, "row")
    if not new.rows:
        if not notes.failure:
            yield f"nothing new, {rows}" if counts.rows else "no rows yet"
        return
    now = f" ({new.rows} of them now)" if new != counts else ""
    how = " again, since the file or the asset file has changed" if anew else now
    yield f"{rows} read{how}: {in_words(counts)}"
    if notes.bad:
        channels = ", ".join(f"{number} of '{name}'" for name, number in sorted(notes.bad.items()))
        bad = _number(notes.bad.total(), "value")
        yield f"{bad} of bad quality, taken as missing: {channels}"
    if notes.may_be_cut:
        yield "the last line may be cut; it is read again when the file has grown"
    if new.quarantined:
        unusable = _number(new.quarantined, "row")
        yield f"{unusable} cannot be used; `faultwatch quarantine` shows them"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _read_ahead(parts: Iterator[Part]) -> Iterator[Part]:
    """Parts, the next one being read while the last is merged."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = reader.submit(next, parts, None)
            yield part


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(map(as_shown, names[:MOST_LISTED])) + more


def in_words(counts: MergeCounts) -> str:
    """Counts as a phrase.

    Example:
        >>> in_words(MergeCounts(kept=3, quarantined=1))
        '3 kept, 0 filled, 0 superseded, 1 quarantined, 0 duplicates'
    """
    fates = asdict(counts)
    if not counts.unlisted:
        del fates["unlisted"]
    return ", ".join(f"{number} {fate}" for fate, number in fates.items())


@flow(name="ingest", description="Read an asset's new files or rows into the historian.")
def ingest(asset_file: str, accept: list[str] | None = None, anew: bool = False) -> dict[str, int]:  # noqa: FBT001, FBT002 - a parameter of the form in Prefect
    """Read an asset's new files or rows into the historian.

    Args:
        asset_file: asset file, or id of a shipped asset.
        accept: channels that are new, gone or of another unit, and may be.
        anew: forget what was read, and read everything again.

    Raises:
        IngestError: something could not be read; all the rest is in.
    """
    asset = load_asset(asset_file)
    settings = Settings()
    historian = Historian(settings.historian_address, asset.asset.id, asset.channel)
    database = settings.database.get_secret_value() if settings.database else None
    say = get_run_logger().info
    done = ingest_asset(
        asset, historian, database=database, accept=accept or (), anew=anew, say=say
    )
    _publish(asset, historian, done, say)
    historian.maintain(timedelta(days=asset.retrain.lookback_days))
    if done.failures:
        raise IngestError(f"{asset.asset.id}: {'; '.join(done.failures)}")
    return {"rows": done.counts.rows, **asdict(done.counts)}


def _publish(asset: AssetConfig, historian: Historian, done: Ingested, say: Say) -> None:
    """Counts and the quality of what came, as artifacts of the run."""
    table = [
        {"source": one.source, "rows": one.counts.rows, **asdict(one.counts), "new": one.new.rows}
        for one in done.sources
    ]
    create_table_artifact(table, key=f"ingest-{asset.asset.id}".replace("_", "-"))
    if done.span is not None:
        report = check_quality(asset, historian, *_judged(asset, historian, done.span))
        quality_artifacts(asset.asset.id, report)
        for remark in report.remarks[:MOST_LISTED]:
            say(remark)


def _judged(
    asset: AssetConfig, historian: Historian, span: tuple[datetime, datetime]
) -> tuple[datetime | None, datetime | None]:
    """What the quality report is about: what came, or all while the history is short."""
    first, last = historian.span() or span
    days_needed = 1.0 / asset.alarm.false_alarms_per_day
    is_short = last - first < timedelta(days=2.0 * days_needed)
    if is_short or (
        span[0] - first < timedelta(seconds=1) and last - span[1] < timedelta(seconds=1)
    ):
        return None, None
    return span[0], span[1] + timedelta(microseconds=1)
