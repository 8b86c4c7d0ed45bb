"""For tests: databases, a stand-in for object storage, a bundle of a toy graph."""

import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import onnx
import polars as pl
import psycopg
import pytest

from faultwatch_edge.bundle import Bundle, Golden
from faultwatch_edge.certificate import Certificate, DetectionLimit, Uncertified
from faultwatch_edge.manifest import AlarmSpec, ChannelSpec, Manifest, ThresholdSpec, WindowSpec
from features.datasets.tep import RUNS_FILE, SAMPLE_FILES, Kind

# A process of its own: deltalake holds the interpreter's lock while it waits for an answer.
OBJECT_STORAGE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


def run_in(address: str, *statements: str, rows: Any = None) -> list[tuple[Any, ...]]:
    """Run the plant's own statements, the last one for each of the rows; gives what it selects."""
    connection: Any
    if address.startswith("postgresql"):
        connection = psycopg.connect(address, autocommit=True)
    else:
        connection = sqlite3.connect(address.removeprefix("sqlite:///"), isolation_level=None)
    with closing(connection):
        cursor = connection.cursor()
        *first, last = statements
        for statement in first:
            cursor.execute(statement)
        if rows is not None:
            cursor.executemany(last, rows)
            return []
        cursor.execute(last)
        return list(cursor.fetchall()) if cursor.description else []


@pytest.fixture
def run() -> Callable[..., list[tuple[Any, ...]]]:
    """Runs statements in the database of an address, and may write."""
    return run_in


@pytest.fixture
def in_postgres(postgres: str) -> Iterator[str]:
    """Address of a database of the test's own; removing it fails while a connection is open."""
    name = f"plant_{secrets.token_hex(4)}"
    run_in(postgres, f"CREATE DATABASE {name}")
    yield postgres.removesuffix("postgres") + name
    run_in(postgres, f"DROP DATABASE {name}")


@pytest.fixture
def in_sqlite(tmp_path: Path) -> str:
    """Address of a file of the test's own."""
    return f"sqlite:///{tmp_path}/the plant's 100%#.db"


@pytest.fixture(params=["in_postgres", "in_sqlite"])
def database(request: pytest.FixtureRequest) -> str:
    """Address of either."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture(scope="session")
def object_storage() -> Iterator[str]:
    """Address of a server that speaks S3 and keeps all in memory, for as long as the tests run."""
    command = [sys.executable, "-c", OBJECT_STORAGE]
    with subprocess.Popen(  # noqa: S603 - ours
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        host, port = process.stdout.readline().split()
        yield f"http://{host}:{port}"
        process.stdin.close()  # it ends when nobody can tell it anything any more


@pytest.fixture
def s3(object_storage: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of an empty bucket in it; the environment says how to reach it during the test."""
    bucket = f"plant-{secrets.token_hex(8)}"
    urlopen(Request(f"{object_storage}/{bucket}", method="PUT")).close()  # noqa: S310 - ours
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_storage)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return f"s3://{bucket}"


# Score: the largest distance of a channel's last value from 10. The first window of a sequence is
# not scored. State: windows so far.
GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
level (float[batch, 2, 2] window, float[1] state) => (
    float[batch] score, float[batch, 2] contribution, float[batch, 2] sensor_status,
    float[batch] gate, float[batch, 2, 2] reconstruction, float[batch, 2] latent,
    float[1] next_state)
<float ten = {10}, float one = {1}, int64 first = {0}, int64[1] last = {1}, int64[1] after = {2},
 int64[1] axis = {2}, int64[1] channels = {1}, float zero = {0}, float[1, 2, 1] expected = {10, 10},
 int64[1] but_last = {-1}, int64[1] end = {1000000}>
{
    newest = Slice(window, last, after, axis)
    latent = Squeeze(newest, axis)
    distance = Sub(latent, ten)
    missing = IsNaN(distance)
    present = Where(missing, zero, distance)
    contribution = Abs(present)
    score = ReduceMax<keepdims = 0>(contribution, channels)
    sensor_status = Mul(contribution, zero)
    shape = Shape(window)
    reconstruction = Expand(expected, shape)
    batch = Shape(score)
    ones = Expand(one, batch)
    index = CumSum(ones, first)
    number = Add(state, index)
    is_open = Greater(number, one)
    gate = Cast<to = 1>(is_open)
    next_state = Slice(number, but_last, end)
}
"""


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """Alarms at a distance of 5, after an hour; cells of half an hour."""
    manifest = Manifest(
        contract=1,
        asset_id="pump_07",
        asset_name="",
        site="",
        version=1,
        created_at="2026-01-01T00:00:00Z",
        channels=tuple(
            ChannelSpec(name, None, "", "continuous", "periodic", None) for name in ("a", "b")
        ),
        window=WindowSpec(1800.0, 2, 1, max_gap_s=0.0, min_channels=1, allowed_lateness_s=0.0),
        threshold=ThresholdSpec(5.0, 0.1, 0.1, (0.0, 0.2), 10.0, extrapolated=False),
        alarm=AlarmSpec(3600.0, 3600.0, "high", "", "", "", enabled=True),
        state_size=1,
        reconstructor="pca",
        mlflow_run="",
        historian_version=0,
        git_revision="",
        key_id="0" * 16,
    )
    nothing = np.zeros(0, np.float32)
    golden = Golden(nothing, nothing, nothing.astype(np.bool_), nothing, nothing)
    graph = onnx.parser.parse_model(GRAPH)
    onnx.checker.check_model(graph, full_check=True)
    return Bundle(manifest, graph.SerializeToString(), golden, sha256="0" * 64)


@pytest.fixture(scope="session")
def knowing_bundle(bundle: Bundle) -> Bundle:
    """The same; two channels together at a distance of 2 are a new operating point."""
    text = GRAPH.replace(
        "float[1] next_state)", "float[batch, 2] operating_point, float[1] next_state)"
    )
    text = text.replace("float zero = {0}", "float zero = {0}, float half = {0.5}")
    text = text.replace("shape = Shape", "operating_point = Mul(contribution, half) shape = Shape")
    graph = onnx.parser.parse_model(text)
    onnx.checker.check_model(graph, full_check=True)
    return replace(bundle, onnx=graph.SerializeToString())


@pytest.fixture(scope="session")
def certificate() -> Certificate:
    """Of three channels: one is found, one is not, one is constant."""
    return Certificate(
        within_s=7200.0,
        smallest=0.5,
        largest=16.0,
        onsets=10,
        needed=8,
        promised_per_day=0.1,
        alarms=1,
        days=20.0,
        limits=(
            DetectionLimit(
                "flow",
                "m3/h",
                "bias",
                is_found=True,
                size=1.0,
                deviations=0.5,
                found=10,
                median_delay_s=600.0,
            ),
            DetectionLimit(
                "flow",
                "m3/h",
                "dropout",
                is_found=True,
                size=None,
                deviations=None,
                found=9,
                median_delay_s=900.0,
            ),
            DetectionLimit(
                "mood",
                "",
                "bias",
                is_found=False,
                size=None,
                deviations=None,
                found=3,
                median_delay_s=60.0,
            ),
            DetectionLimit(
                "mood",
                "",
                "dropout",
                is_found=False,
                size=None,
                deviations=None,
                found=0,
                median_delay_s=None,
            ),
        ),
        uncertified=(Uncertified("valve", "constant in normal running"),),
    )


START = datetime(2026, 1, 1, tzinfo=UTC)
ROWS, FAULT = 1_500, 1_000


def plant(rows: int, *, seed: int, fault_at: int | None = None) -> pl.DataFrame:
    """Three channels of one load; the second runs away from the others after a while."""
    generator = np.random.default_rng(seed)
    load = np.convolve(generator.normal(size=rows + 20), np.ones(20) / 5, mode="valid")[:rows]
    noise = generator.normal(size=(3, rows))
    flow, pressure = 50 + 2 * load + 0.3 * noise[0], 5 - 0.3 * load + 0.05 * noise[1]
    if fault_at is not None:
        pressure[fault_at:] += 0.01 * np.arange(rows - fault_at)
    times = [START + timedelta(minutes=row) for row in range(rows)]
    return pl.DataFrame(
        {
            "time": [at.isoformat() for at in times],
            "Flow [m3/h]": flow,
            "pressure": pressure,
            "mood": 1 + 0.1 * load + 0.2 * noise[2],
        }
    )


@pytest.fixture(scope="session")
def make_plant() -> Callable[..., pl.DataFrame]:
    """Makes the samples of a plant."""
    return plant


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a plant: normal running, the same machine later, and what is known of it."""
    folder = tmp_path_factory.mktemp("plant")
    plant(3_000, seed=1).write_csv(folder / "train.csv")
    plant(ROWS, seed=2, fault_at=FAULT).write_csv(folder / "test.csv", separator=";")
    onset, end = (START + timedelta(minutes=row) for row in (FAULT, ROWS))
    labels = f"start,end,kind,note\n{onset.isoformat()},{end.isoformat()},fault,<b>leak</b>\n"
    (folder / "labels.csv").write_text(labels)
    return folder


@pytest.fixture
def make_tep(tmp_path: Path) -> Callable[..., Path]:
    """Makes a data set in the form of the simulated plant, by a seed, with three channels.

    Four runs to learn from, two normal runs, three faults, the last of which does not show, each as
    often as told.
    """

    def make(name: str, *, seed: int = 0, fault_runs: int = 1, held_out_rows: int = 60) -> Path:
        folder, period = tmp_path / name, timedelta(minutes=3)
        folder.mkdir()
        faults = [(1, 8.0), (2, 8.0), (3, 0.0)] * fault_runs
        plan: list[tuple[Kind, int | None, float]] = [
            *(("train", None, 0.0) for _ in range(4)),
            *(("held_out", None, 0.0) for _ in range(2)),
            *[("fault", number, size) for number, size in faults],
        ]
        rows, frames = [], dict[Kind, list[pl.DataFrame]]()
        for place, (kind, fault, size) in enumerate(plan):
            start = datetime(2026, 1, 1, tzinfo=UTC) + place * timedelta(days=2)
            count = {"train": 120, "held_out": held_out_rows, "fault": 60}[kind]
            onset = start + 30 * period
            generator = np.random.default_rng(place + 100 * seed)
            values = generator.normal(loc=[10.0, 20.0, 30.0], size=(count, 3))
            values[30:, 1] += size
            at = [start + (row + 1) * period for row in range(count)]
            times = pl.Series("time", at, dtype=pl.Datetime("us", "UTC"))
            columns = dict(zip(("flow", "pressure", "level"), values.T, strict=True))
            frames.setdefault(kind, []).append(pl.DataFrame({"time": times, **columns}))
            rows.append(
                {
                    "run": f"{kind}_{place:02d}",
                    "kind": kind,
                    "seed": place,
                    "start": start.isoformat(),
                    "end": at[-1].isoformat(),
                    "disturbance": fault,
                    "description": "",
                    "onset": onset.isoformat() if fault else None,
                    "shutdown_at": None,
                }
            )
        for kind, file in SAMPLE_FILES.items():
            pl.concat(frames[kind]).write_parquet(folder / file)
        pl.DataFrame(rows, infer_schema_length=None).write_csv(folder / RUNS_FILE)
        return folder

    return make
