"""Runs of MLflow: options, losses, pictures, tables and reports of one training or evaluation."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from math import isnan
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import polars as pl
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError
from matplotlib.figure import Figure
from mlflow.data.polars_dataset import from_polars
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from pytorch_lightning.loggers import MLFlowLogger
from requests.exceptions import HTTPError, RequestException  # comes with mlflow

from pipelines.processes import has_ended, this_process
from pipelines.server_database import make_database
from pipelines.settings import MLFLOW_DATABASE, Settings

RIVALS_FOLDER = "rivals"
REPORT_FOLDER = "report"
AWAY = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}
"""How MLflow says that it, or its database, cannot be asked."""
MOST_SAID = 200
"""Characters of what it says."""
STORE_ERRORS = (BotoCoreError, ClientError, S3UploadFailedError)
"""How the client of object storage says so."""
NOTE_TAG = "mlflow.note.content"
PROCESS_TAG = "process"


class AwayError(Exception):
    """MLflow cannot be asked now; the message says where it was looked for."""


class TrackingError(Exception):
    """MLflow cannot be used as the settings say; the message says what to do."""


@contextmanager
def answered() -> Iterator[None]:
    """Say in a sentence that MLflow, its database or its artifacts cannot be used.

    Raises:
        AwayError: one of them is away, and stays so for as long as its client is patient.
        TrackingError: the server refuses what the account may not do.
    """
    try:
        yield
    except (MlflowException, RequestException, *STORE_ERRORS) as error:
        if _is_refused(error):
            raise _refusal(error) from error
        if isinstance(error, MlflowException) and error.error_code not in AWAY:
            raise
        address = mlflow.get_tracking_uri()
        where = f"MLflow at {address}" if address.startswith("http") else "the database of MLflow"
        if isinstance(error, STORE_ERRORS):
            where = "the store of MLflow's artifacts"
        raise AwayError(
            f"{where} does not answer or cannot do its work ({_cause(error)}); see that it runs, "
            "then do the same again: what is done stays done"
        ) from error


def _is_refused(error: Exception) -> bool:
    """Whether MLflow's server knows who asks, and does not let that account do it."""
    if isinstance(error, HTTPError) and error.response is not None:
        return bool(error.response.status_code == HTTPStatus.FORBIDDEN)
    return isinstance(error, MlflowException) and error.error_code == "PERMISSION_DENIED"


def _refusal(error: Exception) -> TrackingError:
    who = os.environ.get("MLFLOW_TRACKING_USERNAME", "nobody")
    return TrackingError(
        f"MLflow at {mlflow.get_tracking_uri()} does not let '{who}' do this ({_cause(error)}); "
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of an account that "
        "may: only faultwatch-release promotes, where there is one"
    )


def _cause(error: Exception) -> str:
    """The last that is said of why, without addresses of requests."""
    said = " ".join(str(error).split()).rpartition("(Caused by ")[2]
    return said.removesuffix(")")[:MOST_SAID]


class Runs:
    """MLflow's runs of one asset.

    Args:
        settings: where MLflow lives.
        asset_id: name of the experiment.

    Raises:
        AwayError: the server does not answer.
        TrackingError: the server asks for an account, or the object storage cannot be used.
        pipelines.connection.DatabaseError: MLflow's database cannot be reached or made.
    """

    def __init__(self, settings: Settings, asset_id: str) -> None:
        self.asset_id = asset_id
        self.address = settings.tracking_address
        self._artifacts = settings.artifacts_address
        if not self._artifacts.startswith("file:"):
            _check_store(self._artifacts)
        if not settings.tracking_uri:
            settings.home.mkdir(parents=True, exist_ok=True)
            if settings.server_database:
                make_database(settings, MLFLOW_DATABASE)
        mlflow.set_tracking_uri(self.address)
        mlflow.set_registry_uri(self.address)
        self.client = MlflowClient(self.address, self.address)
        if not self._has_no_server():
            self._check_access()

    def _check_access(self) -> None:
        """Say in a sentence what would be a long answer of each later request."""
        try:
            with answered():
                self.client.get_experiment_by_name(self.asset_id)
        except MlflowException as error:
            if "error code 401" in str(error):
                raise TrackingError(
                    f"MLflow at {self.address} does not know who asks; set "
                    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                    "such as those of faultwatch-flows"
                ) from error
            raise

    @contextmanager
    def start(self, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
        """An MLflow run of this asset's experiment; marked failed if the block raises."""
        experiment = self.client.get_experiment_by_name(self.asset_id)
        if experiment is None:
            location = self._artifacts if self._has_no_server() else None
            self.client.create_experiment(self.asset_id, artifact_location=location)
        mlflow.set_experiment(self.asset_id)
        with mlflow.start_run(run_name=name, tags=dict(tags)) as run:
            yield run

    def _has_no_server(self) -> bool:
        return urlsplit(self.address).scheme.startswith(("sqlite", "postgresql"))

    def logger(self, run: Run) -> MLFlowLogger:
        """Lightning's logger into that run."""
        return MLFlowLogger(
            experiment_name=self.asset_id, tracking_uri=self.address, run_id=run.info.run_id
        )

    def losses(self, run: Run, names: tuple[str, ...]) -> dict[str, list[float]]:
        """Logged values of some metrics, epoch by epoch."""
        return {
            name: [entry.value for entry in self.client.get_metric_history(run.info.run_id, name)]
            for name in names
        }

    def log_data(self, samples: pl.DataFrame, *, version: int, context: str) -> None:
        """Name the data of the run with the historian's version."""
        source = from_polars(samples, name=f"{self.asset_id}_v{version}")
        mlflow.log_input(source, context=context)

    def log_parameters(self, parameters: Mapping[str, object]) -> None:
        """Log the options of the active run."""
        mlflow.log_params({key: str(value)[:500] for key, value in parameters.items()})

    def log_results(
        self,
        *,
        metrics: Mapping[str, float],
        figures: Mapping[str, Figure],
        tables: Mapping[str, pl.DataFrame],
        note: str,
    ) -> None:
        """Log to the active run; a metric that is not a number is left out.

        Args:
            metrics: figures to compare runs by.
            figures: pictures by name.
            tables: tables by name.
            note: Markdown shown at the top of the run's page.
        """
        mlflow.set_tag(NOTE_TAG, note)
        mlflow.log_metrics({key: value for key, value in metrics.items() if not isnan(value)})
        for name, figure in figures.items():
            mlflow.log_figure(figure, f"pictures/{name}.png", save_kwargs={"dpi": 110})
        for name, table in tables.items():
            mlflow.log_text(table.write_csv(), f"tables/{name}.csv")

    def log_rivals(self, bundles: Sequence[Path]) -> None:
        """Keep the rivals' bundles with the active run, each in a folder named like its own."""
        for bundle in bundles:
            mlflow.log_artifact(str(bundle), f"{RIVALS_FOLDER}/{bundle.parent.name}")

    def log_report(self, folder: Path) -> None:
        """Keep the page, the figures and the scores of an outcome with the active run."""
        mlflow.log_artifacts(str(folder), REPORT_FOLDER)

    def end_lost_runs(self) -> list[str]:
        """Mark as killed what counts as running though nobody does it any more; return names.

        Its process is gone, or is this one, which begins anew.
        """
        experiment = self.client.get_experiment_by_name(self.asset_id)
        if experiment is None:
            return []
        running = self.client.search_runs(
            [experiment.experiment_id], "attributes.status = 'RUNNING'"
        )
        lost = [run for run in running if _is_lost(run.data.tags.get(PROCESS_TAG, ""))]
        for run in lost:
            self.client.set_terminated(run.info.run_id, "KILLED")
        return [str(run.info.run_name) for run in lost]


def _is_lost(process: str) -> bool:
    return process == this_process() or has_ended(process)


def _check_store(address: str) -> None:
    """Say at once what a training would find after its last epoch.

    Raises:
        TrackingError: the object storage is not there, or does not let us in.
    """
    try:
        get_artifact_repository(address).list_artifacts("nothing")
    except (BotoCoreError, ClientError, MlflowException, ValueError) as error:
        said = " ".join(str(error).split())
        raise TrackingError(
            f"artifacts cannot be kept at {address} ({said}); correct FAULTWATCH_ARTIFACTS, or "
            "the AWS_ variables that say how to reach it"
        ) from error
