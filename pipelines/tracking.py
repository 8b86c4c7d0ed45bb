"""The only place that knows MLflow: runs, pictures, registered bundles, aliases, their history."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import onnx
import polars as pl
from botocore.exceptions import BotoCoreError, ClientError
from matplotlib.figure import Figure
from mlflow.data.polars_dataset import from_polars
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from pytorch_lightning.loggers import MLFlowLogger

from pipelines.processes import has_ended
from pipelines.server_database import make_database
from pipelines.settings import MLFLOW_DATABASE, Settings

BUNDLE_FOLDER = "bundle"
RIVALS_FOLDER = "rivals"
REPORT_FOLDER = "report"
CHAMPION_TAG = "champion_since."
NOTE_TAG = "mlflow.note.content"
MOST_SHOWN = 5_000
"""Characters of a model's description that MLflow keeps; `Registry.champions` has all."""
BASIS_TAG = "basis"
PROCESS_TAG = "process"
LAST_TAG = "last_version"
"""Of a registered model: MLflow never gives the number of a deleted version again."""


RegisteredVersion = ModelVersion
"""A registered bundle; the one name by which others know MLflow's."""


class RegistryError(Exception):
    """The registry does not hold what was asked for; the message says what to do."""


@dataclass(frozen=True)
class Promotion:
    """One entry of the history of champions."""

    version: int
    at: datetime
    by: str
    reason: str


class Registry:
    """Runs and registered bundles of one asset.

    Args:
        settings: where MLflow lives.
        asset_id: name of the registered model and of the experiment.

    Raises:
        RegistryError: the server asks for an account, or the object storage cannot be used.
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
            self.client.get_experiment_by_name(self.asset_id)
        except MlflowException as error:
            if "error code 401" in str(error):
                raise RegistryError(
                    f"MLflow at {self.address} does not know who asks; set "
                    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                    "such as those of faultwatch-flows"
                ) from error
            raise

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
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

    def rivals(self, version: ModelVersion) -> list[str]:
        """Names of the rivals that are kept with a registered bundle."""
        kept = mlflow.artifacts.list_artifacts(run_id=version.run_id, artifact_path=RIVALS_FOLDER)
        return sorted(Path(entry.path).name for entry in kept if entry.is_dir)

    def log_report(self, folder: Path) -> None:
        """Keep the page, the figures and the scores of an outcome with the active run."""
        mlflow.log_artifacts(str(folder), REPORT_FOLDER)

    def download_rival(self, version: ModelVersion, rival: str, folder: Path) -> Path:
        """Copy the bundle of a rival of a registered bundle into a folder."""
        return self._fetch(version, f"{RIVALS_FOLDER}/{rival}/{version.tags['bundle']}", folder)

    def _fetch(self, version: ModelVersion, artifact: str, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        found = mlflow.artifacts.download_artifacts(
            run_id=version.run_id, artifact_path=artifact, dst_path=str(folder)
        )
        return Path(found).replace(folder / Path(artifact).name)

    def next_version(self) -> int:
        """Version that the next registered bundle will have."""
        numbers = [int(version.version) for version in self._all_versions()]
        try:
            model = self.client.get_registered_model(self.asset_id)
        except MlflowException:
            return 1
        return 1 + max([*numbers, int(model.tags.get(LAST_TAG, 0))])

    def versions(self) -> list[ModelVersion]:
        """Registered bundles, the newest first; without what is not the version that it says."""
        found = [
            version
            for version in self._all_versions()
            if str(version.tags.get("bundle", "")).endswith(f"-{version.version}.fwb")
        ]
        return sorted(found, key=lambda version: -int(version.version))

    def _all_versions(self) -> list[ModelVersion]:
        return list(self.client.search_model_versions(f"name = '{self.asset_id}'"))

    def register(self, run: Run, bundle: Path, *, graph: bytes, version: int) -> int:
        """Log bundle and graph to the run, register the bundle, make it the challenger.

        Args:
            run: the active run that made the bundle.
            bundle: the signed file.
            graph: the ONNX graph in it, shown in the MLflow UI.
            version: the version that the bundle's manifest names.

        Raises:
            RegistryError: another training registered a bundle in the meantime.
        """
        mlflow.log_artifact(str(bundle), BUNDLE_FOLDER)
        model = onnx.load_from_string(graph)
        mlflow.onnx.log_model(
            model, name="detector", save_as_external_data=False, pip_requirements=["onnxruntime"]
        )
        try:
            self.client.create_registered_model(self.asset_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{mlflow.get_artifact_uri()}/{BUNDLE_FOLDER}"
        tags = {
            "bundle": bundle.name,
            "bundle_sha256": hashlib.sha256(bundle.read_bytes()).hexdigest(),
            "onnx_sha256": hashlib.sha256(graph).hexdigest(),
        }
        made = self.client.create_model_version(self.asset_id, source, run.info.run_id, tags=tags)
        if int(made.version) != version:
            self.client.set_registered_model_tag(self.asset_id, LAST_TAG, str(made.version))
            self.client.delete_model_version(self.asset_id, made.version)
            raise RegistryError(
                f"{self.asset_id}: another training registered version {version} in the meantime; "
                "train again, one at a time"
            )
        self._point("challenger", version)
        return version

    def version_of(self, alias_or_version: str) -> ModelVersion:
        """Registered bundle behind an alias or a version number.

        Raises:
            RegistryError: there is none.
        """
        try:
            if alias_or_version.isdigit():
                return self.client.get_model_version(self.asset_id, alias_or_version)
            return self.client.get_model_version_by_alias(self.asset_id, alias_or_version)
        except MlflowException as error:
            known = ", ".join(str(version.version) for version in self.versions()) or "none"
            raise RegistryError(
                f"{self.asset_id}: no registered bundle '{alias_or_version}' (versions: {known}); "
                f"run `faultwatch train {self.asset_id}` or name another alias or version"
            ) from error

    def champion(self) -> ModelVersion | None:
        """The registered bundle that devices run; None = none was promoted."""
        return self._aliased("champion")

    def _aliased(self, alias: str) -> ModelVersion | None:
        try:
            return self.client.get_model_version_by_alias(self.asset_id, alias)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise

    def champion_version(self) -> int | None:
        """Its number; None = none was promoted."""
        champion = self.champion()
        return None if champion is None else int(champion.version)

    def learned_to(self, version: ModelVersion) -> datetime | None:
        """Time of the newest sample that a registered bundle learned from; None = not noted."""
        run = self.client.get_run(str(version.run_id))
        noted = run.data.params.get("normal_to")
        return datetime.fromisoformat(noted) if noted else None

    def download(self, version: ModelVersion, folder: Path) -> Path:
        """Copy a registered bundle into a folder.

        Raises:
            RegistryError: what arrived is not what was registered.
        """
        name = version.tags["bundle"]
        path = self._fetch(version, f"{BUNDLE_FOLDER}/{name}", folder)
        if hashlib.sha256(path.read_bytes()).hexdigest() != version.tags["bundle_sha256"]:
            path.unlink()
            raise RegistryError(
                f"{name} is not the file that was registered: its SHA-256 differs; train again"
            )
        return path

    def basis(self, version: ModelVersion) -> str:
        """What a registered bundle was made from, as its training noted it; '' = not noted."""
        return str(self.client.get_run(str(version.run_id)).data.tags.get(BASIS_TAG, ""))

    def settle(self) -> None:
        """Finish what a crash left half done: each alias points to where its history says.

        A promotion is written down before the alias moves, and a bundle is whole before it is
        registered: what is written down is right, an alias that lags behind is moved.
        """
        champions = self.champions()
        if champions:
            self._point("champion", champions[0].version)
        newest = max((int(version.version) for version in self.versions()), default=0)
        if newest:
            self._point("challenger", newest)
        if champions:
            self._describe()

    def _point(self, alias: str, version: int) -> None:
        """Move an alias, unless it is there."""
        before = self._aliased(alias)
        if before is not None and int(before.version) == version:
            return
        self.client.set_registered_model_alias(self.asset_id, alias, str(version))

    def end_lost_runs(self) -> list[str]:
        """Mark as killed what still counts as running though its process is gone; return names."""
        experiment = self.client.get_experiment_by_name(self.asset_id)
        if experiment is None:
            return []
        running = self.client.search_runs(
            [experiment.experiment_id], "attributes.status = 'RUNNING'"
        )
        lost = [run for run in running if has_ended(run.data.tags.get(PROCESS_TAG, ""))]
        for run in lost:
            self.client.set_terminated(run.info.run_id, "KILLED")
        return [str(run.info.run_name) for run in lost]

    def make_champion(self, version: ModelVersion, *, at: datetime, by: str, reason: str) -> None:
        """Remember when, why and by whom, and move the alias ``champion``, in this order."""
        entry = json.dumps({"by": by, "reason": reason})
        self.client.set_model_version_tag(
            self.asset_id, version.version, CHAMPION_TAG + stamp(at), entry
        )
        self._point("champion", int(version.version))
        self._describe()

    def _describe(self) -> None:
        """Show the history of champions on the model's page."""
        rows = [
            f"| {one.version} | {one.at:%Y-%m-%d %H:%M} UTC | {one.by} | {_in_a_cell(one.reason)} |"
            for one in self.champions()
        ]
        shown = ["| champion | since | by | why |", "| --- | --- | --- | --- |"]
        for row in rows:
            if len("\n".join([*shown, row])) > MOST_SHOWN:
                break
            shown.append(row)
        self.client.update_registered_model(self.asset_id, "\n".join(shown))

    def champions(self) -> list[Promotion]:
        """History of champions, the newest first."""
        history = [
            Promotion(
                version=int(version.version),
                at=datetime.fromisoformat(key.removeprefix(CHAMPION_TAG)),
                **json.loads(value),
            )
            for version in self.versions()
            for key, value in version.tags.items()
            if key.startswith(CHAMPION_TAG)
        ]
        return sorted(history, key=lambda promotion: promotion.at, reverse=True)


def stamp(at: datetime) -> str:
    """An instant as tags have it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _in_a_cell(text: str) -> str:
    """Text that cannot end its cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())


def _check_store(address: str) -> None:
    """Say at once what a training would find after its last epoch.

    Raises:
        RegistryError: the object storage is not there, or does not let us in.
    """
    try:
        get_artifact_repository(address).list_artifacts("nothing")
    except (BotoCoreError, ClientError, MlflowException, ValueError) as error:
        said = " ".join(str(error).split())
        raise RegistryError(
            f"artifacts cannot be kept at {address} ({said}); correct FAULTWATCH_ARTIFACTS, or "
            "the AWS_ variables that say how to reach it"
        ) from error
