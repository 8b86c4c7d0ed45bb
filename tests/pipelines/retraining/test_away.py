"""An MLflow server that does not answer: what people hear, and what tries again."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import mlflow
import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import TaskRunSort
from typing_extensions import override

from pipelines.cli import main
from pipelines.history import HistoryError
from pipelines.retrain import AGAIN_AFTER_S, take_in_and_retrain
from pipelines.tracking import AwayError, TrackingError, answered

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def away(pump: Any, prefect_harness: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The pump, while its server is away."""
    del prefect_harness
    monkeypatch.setenv("FAULTWATCH_HOME", str(pump.settings.home))
    monkeypatch.setenv("FAULTWATCH_TRACKING_URI", NOBODY)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    pump.run(2_000)
    return pump


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb",
    [
        "champions",
        "train",
        "retrain",
        "monitor",
        "evaluate",
        "release",
        "promote --reason better",
        "roll-back --reason worse",
    ],
)
def test_every_verb_says_in_a_sentence_that_no_server_answers(
    verb: str, away: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = verb.split()
    assert main([name, str(away.path), *options]) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith(
        f"faultwatch: MLflow at {NOBODY} does not answer or cannot do its work ("
    )
    assert said.rstrip().endswith("then do the same again: what is done stays done")
    assert "Traceback" not in said


def attempts(asset_file: str, expected: type[Exception]) -> int:
    """How often a retraining that fails is tried."""

    @flow
    def trying() -> None:
        take_in_and_retrain.with_options(retry_delay_seconds=0)(asset_file, "test")

    with pytest.raises(expected):
        trying()
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(sort=TaskRunSort.END_TIME_DESC, limit=1)
    return runs[0].run_count


@pytest.mark.slow
def test_a_scheduled_retraining_waits_for_a_server_and_a_person_does_not(
    away: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert attempts(str(away.path), AwayError) == 1
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "scheduled")
    assert attempts(str(away.path), AwayError) == 1 + len(AGAIN_AFTER_S)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_harness")
def test_what_no_waiting_mends_is_not_tried_again(
    pump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTWATCH_HOME", str(pump.settings.home))
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "scheduled")
    pump.write(10)
    assert attempts(str(pump.path), HistoryError) == 1


class _Answer(BaseHTTPRequestHandler):
    """Says the same to everybody."""

    status = 507  # it is full

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def broken() -> Iterator[str]:
    """Address of a store that answers, and keeps nothing."""
    before = mlflow.get_tracking_uri()
    server = HTTPServer(("127.0.0.1", 0), _Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize("store", ["object storage", "away object storage", "server"])
def test_artifacts_that_cannot_be_stored_are_said_in_a_sentence_and_tried_again(
    store: str, broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pump")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "pump")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    endpoint = NOBODY if store.startswith("away") else f"http://{broken}"
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)
    s3, proxy = "s3://plant/mlflow", f"mlflow-artifacts://{broken}/1"
    file = tmp_path / "bundle"
    file.write_bytes(b"signed")
    mlflow.set_tracking_uri(f"http://{broken}")
    repository: Any = get_artifact_repository(
        proxy if store == "server" else s3, f"http://{broken}"
    )
    where = "MLflow" if store == "server" else "the store of MLflow's artifacts"
    said = f"^{where} .*does not answer or cannot do its work .*then do the same again"
    with pytest.raises(AwayError, match=said), answered():
        repository.log_artifact(str(file))


def test_artifacts_that_an_account_may_not_store_are_not_tried_again(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Answer, "status", 403)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "kim")
    file = tmp_path / "bundle"
    file.write_bytes(b"signed")
    repository: Any = get_artifact_repository(f"mlflow-artifacts://{broken}/1", f"http://{broken}")
    with pytest.raises(TrackingError, match="does not let 'kim' do this "), answered():
        repository.log_artifact(str(file))
