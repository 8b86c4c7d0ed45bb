"""Processes that are killed, and two at once: real ones, on real files."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.channels import Channel
from features.merging import MergeCounts
from features.schema import check_samples, samples_schema
from pipelines.historian import Historian
from pipelines.ledger import Progress

CHANNELS = (Channel(name="flow"), Channel(name="pressure"))
START = datetime(2026, 1, 31, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
ASSET = """
[asset]
id = "pump_07"
[source]
files = "{files}"
[window]
sample_period_s = 10.0
[[channel]]
name = "flow"
[[channel]]
name = "pressure"
"""
# Imports once, and becomes a new process for every job: before polars or deltalake have threads.
SERVER = """
import os, sys, traceback, warnings
from datetime import timedelta
from pipelines import ingest, reading, tables
from pipelines.config import load_asset
from pipelines.historian import Historian

warnings.filterwarnings("ignore", "Using fork")
reading.MOST_ROWS = int(sys.argv[1])
tables.MANY_SMALL_FILES = 3
print("ready", flush=True)
for line in sys.stdin:
    verb, *words = line.rstrip().split("\\t")
    if verb == "wait":
        print(os.waitstatus_to_exitcode(os.waitpid(int(words[0]), 0)[1]), flush=True)
        continue
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    try:
        asset = load_asset(words[0])
        historian = Historian(words[1], asset.asset.id, asset.channel)
        if verb == "ingest":
            ingest.ingest_asset(asset, historian)
        else:
            historian.maintain(timedelta(days=1))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
"""


class Server:
    """Starts processes that read an asset's files, or maintain its tables."""

    def __init__(self, most_rows: int) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, "-c", SERVER, str(most_rows)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        assert self._read() == "ready"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip()

    def _ask(self, *words: object) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write("\t".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def start(self, asset_file: Path, folder: Path, *, verb: str = "ingest") -> int:
        """Id of the process."""
        return self._ask(verb, asset_file, folder)

    def wait(self, process: int) -> int:
        """How it ended; -9 = it was killed."""
        return self._ask("wait", process)

    def run(self, asset_file: Path, folder: Path, *, verb: str = "ingest") -> None:
        assert self.wait(self.start(asset_file, folder, verb=verb)) == 0

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(most_rows=50_000)
    yield server
    server.close()


@pytest.fixture(scope="module")
def small_parts() -> Iterator[Server]:
    server = Server(most_rows=2_000)
    yield server
    server.close()


def asset_file_of(folder: Path, files: str) -> Path:
    asset_file = folder / f"{Path(files).stem.strip('*') or 'all'}.toml"
    asset_file.write_text(ASSET.format(files=files))
    return asset_file


def historian_in(folder: Path) -> Historian:
    return Historian(folder, "pump_07", CHANNELS)


def progress_of(historian: Historian) -> dict[str, Progress]:
    names = historian.sources.names().values()
    return {name: historian.progress(historian.sources.of(name)) for name in names}


def dirty_line(number: int, chance: random.Random) -> str:
    """A row in disorder, maybe with doubles, conflicts, holes, text, a naive or a missing time."""
    at = START + timedelta(seconds=10 * chance.randrange(max(0, number - 3_000), number + 1))
    flow = chance.choice(["", "1.5", "2.5", f"{number}", "off" if number % 97 == 0 else "3"])
    written = at.isoformat() if number % 89 else chance.choice(["", "soon", str(at)[:19]])
    return f"{written},{flow},{chance.choice(['', '7', 'NaN', '8', 'Bad'])}"


def write_dirty(path: Path, count: int, *, clean: int, seed: int) -> None:
    """Rows of which as many in each hundred thousand, or less, are clean and in order."""
    chance = random.Random(seed)  # noqa: S311 - test data
    lines = ["time,flow,pressure"]
    for number in range(count):
        if number % 100_000 < clean:
            at = START + timedelta(seconds=10 * number)
            lines.append(f"{at:%Y-%m-%dT%H:%M:%S}Z,{number % 1000}.25,{number % 7}")
        else:
            lines.append(dirty_line(number, chance))
    path.write_text("\n".join([*lines, ""]))


def kill_after(server: Server, asset_file: Path, folder: Path, seconds: float) -> int:
    process = server.start(asset_file, folder)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)  # it is not waited for yet, so that its id is its own
    return server.wait(process)


def check_same(disturbed: Path, undisturbed: Path) -> None:
    """Table, quarantine, and how far each source was read and what became of its rows."""
    one, other = historian_in(disturbed), historian_in(undisturbed)
    check_samples(one.read(), CHANNELS)
    assert one.read().equals(other.read())
    assert one.read_quarantine().equals(other.read_quarantine())
    assert progress_of(one) == progress_of(other)


def check_kills(server: Server, folder: Path, *, kills: int, rows: int) -> None:
    asset_file = asset_file_of(folder, "dirty.csv")
    begun = time.monotonic()
    server.run(asset_file, folder / "undisturbed")
    lasts = time.monotonic() - begun
    (counts,) = (one.counts for one in progress_of(historian_in(folder / "undisturbed")).values())
    assert counts.rows == rows
    assert min(counts.kept, counts.filled, counts.superseded, counts.duplicates) > rows // 1_000
    assert counts.quarantined > rows // 1_000
    chance = random.Random(2)  # noqa: S311 - moments of the kills
    ends = []
    for kill in range(kills):
        disturbed = folder / f"killed_{kill}"
        seconds = lasts * (kill + chance.random()) / kills
        ends.append(kill_after(server, asset_file, disturbed, seconds))
        server.run(asset_file, disturbed)
        check_same(disturbed, folder / "undisturbed")
    assert set(ends) <= {-9, 0}
    assert ends.count(-9) > kills // 2


def test_a_killed_ingest_that_is_run_again_is_an_undisturbed_one(
    tmp_path: Path, small_parts: Server
) -> None:
    write_dirty(tmp_path / "dirty.csv", 20_000, clean=5_000, seed=1)
    check_kills(small_parts, tmp_path, kills=3, rows=20_000)


@pytest.mark.slow
def test_an_ingest_of_half_a_million_rows_may_be_killed_at_any_moment(
    tmp_path: Path, server: Server
) -> None:
    write_dirty(tmp_path / "dirty.csv", 500_000, clean=60_000, seed=3)
    check_kills(server, tmp_path, kills=30, rows=500_000)


def write_minutes(path: Path, count: int, *, every: int, first: int, flow: float) -> None:
    times = [START + timedelta(minutes=first + every * row) for row in range(count)]
    rows = [f"{at.isoformat()},{flow},1" for at in times]
    path.write_text("\n".join(["time,flow,pressure", *rows, "soon,1,1", ""]))


def run_both(server: Server, jobs: list[tuple[Path, Path]]) -> None:
    processes = [server.start(*job) for job in jobs]
    assert [server.wait(process) for process in processes] == [0] * len(jobs)


def test_two_processes_with_a_file_each_lose_nothing(tmp_path: Path, small_parts: Server) -> None:
    count = 10_000
    for first, name in enumerate(("even.csv", "odd.csv")):
        write_minutes(tmp_path / name, count, every=2, first=first, flow=float(first))
    folder = tmp_path / "historian"
    run_both(
        small_parts, [(asset_file_of(tmp_path, name), folder) for name in ("even.csv", "odd.csv")]
    )
    historian = historian_in(folder)
    times = [START + timedelta(minutes=minute) for minute in range(2 * count)]
    expected = pl.DataFrame(
        {"time": times, "flow": [0.0, 1.0] * count, "pressure": [1.0] * 2 * count},
        schema=samples_schema(CHANNELS),
    )
    assert historian.read().equals(expected)
    assert historian.read_quarantine()["source"].to_list() == ["even.csv", "odd.csv"]
    counts = MergeCounts(kept=count, quarantined=1)
    assert [one.counts for one in progress_of(historian).values()] == [counts, counts]


def test_two_processes_with_the_same_files_read_them_once(
    tmp_path: Path, small_parts: Server
) -> None:
    for name, seed in (("a.csv", 4), ("b.csv", 5)):
        write_dirty(tmp_path / name, 10_000, clean=3_000, seed=seed)
    asset_file = asset_file_of(tmp_path, "*.csv")
    small_parts.run(asset_file, tmp_path / "alone")
    run_both(small_parts, [(asset_file, tmp_path / "together")] * 2)
    check_same(tmp_path / "together", tmp_path / "alone")


def test_a_killed_compaction_harms_nothing(tmp_path: Path, small_parts: Server) -> None:
    write_minutes(tmp_path / "a.csv", 44_000, every=1, first=0, flow=1.0)
    asset_file = asset_file_of(tmp_path, "a.csv")
    small_parts.run(asset_file, tmp_path)
    historian = historian_in(tmp_path)
    before, progress = historian.read(), progress_of(historian)
    for seconds in (0.02, 0.05, 0.1):
        process = small_parts.start(asset_file, tmp_path, verb="maintain")
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
        assert small_parts.wait(process) in {-9, 0}
        assert historian.read().equals(before)
    small_parts.run(asset_file, tmp_path, verb="maintain")
    assert historian.read().equals(before)
    assert progress_of(historian) == progress


def test_compaction_during_an_ingest_harms_neither(tmp_path: Path, small_parts: Server) -> None:
    write_dirty(tmp_path / "dirty.csv", 40_000, clean=20_000, seed=6)
    asset_file = asset_file_of(tmp_path, "dirty.csv")
    small_parts.run(asset_file, tmp_path / "alone")
    reading = small_parts.start(asset_file, tmp_path / "together")
    for _ in range(10):
        small_parts.run(asset_file, tmp_path / "together", verb="maintain")
    assert small_parts.wait(reading) == 0
    check_same(tmp_path / "together", tmp_path / "alone")
