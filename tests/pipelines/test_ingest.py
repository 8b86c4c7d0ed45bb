import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.channels import Channel
from features.merging import MergeCounts
from features.schema import SchemaError, check_samples, samples_schema
from pipelines import ingest as module
from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.ingest import IngestError, ingest_files, read_chunks

CHANNELS = (Channel(name="flow", tag="FT-101"), Channel(name="pressure"))
START = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def asset_of(pattern: Path) -> AssetConfig:
    return AssetConfig.model_validate(
        {
            "asset": {"id": "pump_07"},
            "source": {"files": str(pattern)},
            "channel": [channel.model_dump() for channel in CHANNELS],
            "window": {"sample_period_s": 60.0},
        }
    )


def historian_in(folder: Path) -> Historian:
    return Historian(folder, "pump_07", CHANNELS)


def run(pattern: Path, historian: Historian) -> tuple[MergeCounts, list[str]]:
    said: list[str] = []
    files = ingest_files(asset_of(pattern), historian, say=said.append)
    return sum((done.counts for done in files), MergeCounts()), said


def write_csv(path: Path, *lines: str, header: str = "time,flow,pressure") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return path


def minutes(first: int, count: int) -> list[str]:
    times = [START + timedelta(minutes=first + minute) for minute in range(count)]
    return [f"{at.isoformat()},{first + i}.5,{i}" for i, at in enumerate(times)]


def test_csv_and_parquet_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_csv(tmp_path / "data" / "a.csv", *minutes(0, 3), "soon,1,2", "2026-01-01T00:00:00Z,9,0")
    pl.DataFrame(
        {"time": [START + timedelta(minutes=3)], "FT-101": [8], "pressure": [float("inf")]}
    ).write_parquet(tmp_path / "data" / "b.parquet")
    historian = historian_in(tmp_path / "historian")
    counts, said = run(tmp_path / "data" / "*", historian)
    assert counts == MergeCounts(kept=3, superseded=1, quarantined=2)
    assert said == [
        "a.csv: 5 rows read: 3 kept, 0 filled, 1 superseded, 1 quarantined, 0 duplicates",
        "b.parquet: 1 rows read: 0 kept, 0 filled, 0 superseded, 1 quarantined, 0 duplicates",
    ]
    assert historian.read()["flow"].to_list() == [9.0, 1.5, 2.5]
    assert historian.read_quarantine().select("source", "line").rows() == [
        ("a.csv", None),
        ("a.csv", 5),
        ("b.parquet", 1),
    ]


def test_twice_is_once(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", *minutes(0, 5), "x,1,1", *minutes(2, 5))
    write_csv(tmp_path / "b.csv", *minutes(1, 8))
    historian = historian_in(tmp_path)
    first, _ = run(tmp_path / "*.csv", historian)
    before = (historian.version(), historian.read(), historian.read_quarantine())
    second, _ = run(tmp_path / "*.csv", historian)
    assert first.rows == second.rows == 19
    assert first.superseded > 0
    assert second == MergeCounts(quarantined=1, duplicates=18)
    assert historian.version() == before[0]
    assert historian.read().equals(before[1])
    assert historian.read_quarantine().equals(before[2])


def test_chunks_are_small_and_know_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)
    path = write_csv(tmp_path / "a.csv", *minutes(0, 10), "soon,1,2")
    assert [(line, rows.height) for line, rows in read_chunks(path)] == [(2, 4), (6, 4), (10, 3)]
    historian = historian_in(tmp_path)
    assert run(path, historian)[0] == MergeCounts(kept=10, quarantined=1)
    assert historian.read_quarantine()["line"].to_list() == [12]


def test_unknown_columns_are_reported_once(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_csv(
            tmp_path / name, "2026-01-01T00:00:00Z,1,2,x,y", header="time,FT-101,pressure,note,by"
        )
    _, said = run(tmp_path / "*.csv", historian_in(tmp_path))
    assert [line for line in said if "ignored" in line] == [
        "a.csv: columns without a channel are ignored: by, note"
    ]


def test_files_of_one_name_in_two_folders_are_two_sources(tmp_path: Path) -> None:
    for number, folder in enumerate(("north", "south")):
        write_csv(tmp_path / "data" / folder / "a.csv", f"2026-01-01T00:00:00Z,{number},", "soon,,")
    historian = historian_in(tmp_path / "historian")
    run(tmp_path / "data" / "*" / "a.csv", historian)
    sources = historian.read_quarantine()["source"].to_list()
    assert sources == ["north/a.csv", "south/a.csv", "south/a.csv"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"PK", "a.xlsx is neither .csv nor .parquet; correct [source] files"),
        ("a.parquet", b"time", "a.parquet cannot be read: parquet: File out of specification"),
        ("a.csv", b"", "a.csv cannot be read: empty CSV; repair or remove the file"),
        ("a.csv", b"time,flow,pressure\n1,2,3,4\n", "a.csv cannot be read: found more fields than"),
        ("a.csv", b"time,flow,pressure\n1,\xff,3\n", "a.csv cannot be read: invalid utf-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IngestError) as caught:
        run(tmp_path / name, historian_in(tmp_path))
    assert str(caught.value).startswith(message)


def test_a_file_without_a_column_is_refused_before_a_row_is_read(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", header="time,flow")
    historian = historian_in(tmp_path)
    with pytest.raises(SchemaError, match=r"a.csv has no column for channel 'pressure'"):
        run(path, historian)
    assert historian.version() == -1


def test_no_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"pump_07: no file matches .*; correct \[source\] files"):
        run(tmp_path / "*.csv", historian_in(tmp_path))


def test_rows_that_do_not_add_up_are_a_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_csv(tmp_path / "a.csv", *minutes(0, 2))
    monkeypatch.setattr(Historian, "merge", lambda *_, **__: MergeCounts(kept=1))
    with pytest.raises(IngestError, match=r"2 rows of a.csv from line 2 became 1; nothing may be"):
        run(path, historian_in(tmp_path))


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    write_csv(tmp_path / "a[1].csv", *minutes(0, 2))
    assert run(tmp_path / "*.csv", historian_in(tmp_path))[0] == MergeCounts(kept=2)


WORKER = """
import sys
from pathlib import Path
from pipelines import ingest
from pipelines.config import load_asset
from pipelines.historian import Historian

asset_file, folder, chunk = sys.argv[1:]
ingest.CHUNK = int(chunk)
asset = load_asset(asset_file)
historian = Historian(Path(folder), asset.asset.id, asset.channel)
print("ready", flush=True)
sys.stdin.readline()
ingest.ingest_files(asset, historian)
"""
ASSET = """
[asset]
id = "pump_07"
[source]
files = "{files}"
[window]
sample_period_s = 60.0
[[channel]]
name = "flow"
[[channel]]
name = "pressure"
"""
CHUNK = 2_000


def start_worker(folder: Path, files: str) -> subprocess.Popen[str]:
    """A real process that has imported everything and waits for a line."""
    asset_file = folder / f"{Path(files).stem}.toml"
    asset_file.write_text(ASSET.format(files=files))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WORKER, str(asset_file), str(folder / "historian"), str(CHUNK)]
    worker = subprocess.Popen(  # noqa: S603 - our own words
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def release(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()


def dirty_lines(count: int, *, seed: int) -> list[str]:
    """Rows in disorder, with doubles, conflicts, holes, text, naive and missing times."""
    chance = random.Random(seed)  # noqa: S311 - test data
    lines = []
    for number in range(count):
        at = START + timedelta(minutes=chance.randrange(max(1, number - 3_000), number + 2))
        flow = chance.choice(["", "1.5", "2.5", f"{number}", "off" if number % 97 == 0 else "3"])
        time_text = at.isoformat() if number % 89 else chance.choice(["", "soon", str(at)[:19]])
        lines.append(f"{time_text},{flow},{chance.choice(['', '7', 'NaN', '8'])}")
    return lines


def wait_for_commits(folder: Path, count: int, worker: subprocess.Popen[str]) -> None:
    log = folder / "historian" / "pump_07" / "samples" / "_delta_log"
    while worker.poll() is None and len(list(log.glob("*.json"))) < count:
        time.sleep(0.001)


def test_a_killed_ingest_that_is_run_again_is_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", CHUNK)
    path = write_csv(tmp_path / "dirty.csv", *dirty_lines(30_000, seed=1))
    undisturbed = historian_in(tmp_path / "undisturbed")
    expected, _ = run(path, undisturbed)
    assert min(expected.kept, expected.filled, expected.superseded, expected.quarantined) > 100
    chance = random.Random(2)  # noqa: S311 - moments of the kills
    for commits in (2, 6, 11):
        worker = start_worker(tmp_path, "dirty.csv")
        release(worker)
        wait_for_commits(tmp_path, commits, worker)
        time.sleep(chance.uniform(0.0, 0.1))
        worker.kill()
        assert worker.wait() == -9
        worker.communicate()
    disturbed = historian_in(tmp_path / "historian")
    assert disturbed.version() < undisturbed.version()
    counts, _ = run(path, disturbed)
    assert counts.rows == expected.rows == 30_000
    assert counts.quarantined == expected.quarantined
    check_samples(disturbed.read(), CHANNELS)
    assert disturbed.read().equals(undisturbed.read())
    assert disturbed.read_quarantine().equals(undisturbed.read_quarantine())


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    count = 10_000
    for number, name in enumerate(("even.csv", "odd.csv")):
        times = [START + timedelta(minutes=2 * i + number) for i in range(count)]
        write_csv(tmp_path / name, *(f"{at.isoformat()},{number},1" for at in times), "soon,1,1")
    workers = [start_worker(tmp_path, name) for name in ("even.csv", "odd.csv")]
    for worker in workers:
        release(worker)
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0
    historian = historian_in(tmp_path / "historian")
    times = [START + timedelta(minutes=minute) for minute in range(2 * count)]
    expected = pl.DataFrame(
        {"time": times, "flow": [0.0, 1.0] * count, "pressure": [1.0] * 2 * count},
        schema=samples_schema(CHANNELS),
    )
    assert historian.read().equals(expected)
    assert historian.read_quarantine()["source"].to_list() == ["even.csv", "odd.csv"]
