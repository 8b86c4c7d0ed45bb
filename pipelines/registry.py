"""Registered bundles of MLflow: versions, aliases, and the history of champions."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import onnx
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipelines.aliases import (
    BUNDLE_SHA256_TAG,
    BUNDLE_TAG,
    CANARY,
    CHALLENGER,
    CHAMPION,
    RELEASED_TAG,
    SINCE,
)
from pipelines.settings import Settings
from pipelines.tracking import RIVALS_FOLDER, Runs

BUNDLE_FOLDER = "bundle"
RELEASED_FOLDER = "released"
MOST_SHOWN = 5_000
"""Characters of a model's description that MLflow keeps; `Registry.promotions` has all."""
BASIS_TAG = "basis"
NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
"""How MLflow says that there is no such model, version or alias."""


RegisteredVersion = ModelVersion
"""A registered bundle; the one name by which others know MLflow's."""


class RegistryError(Exception):
    """The registry does not hold what was asked for; the message says what to do."""


@dataclass(frozen=True)
class Promotion:
    """One entry of the history of champions and canaries."""

    version: int
    at: datetime
    by: str
    reason: str
    alias: str = CHAMPION
    """Or `CANARY`: for the devices that go first."""


class Registry:
    """Registered bundles of one asset, and the runs that made them.

    Args:
        settings: where MLflow lives.
        asset_id: name of the registered model and of the experiment.

    Raises:
        pipelines.tracking.AwayError: the server does not answer.
        pipelines.tracking.TrackingError: the server asks for an account, or the object storage
            cannot be used.
        pipelines.connection.DatabaseError: MLflow's database cannot be reached or made.
    """

    def __init__(self, settings: Settings, asset_id: str) -> None:
        self.asset_id = asset_id
        self.runs = Runs(settings, asset_id)
        self.client = self.runs.client

    def next_version(self) -> int:
        """Version that the next registered bundle will have."""
        return 1 + max((int(version.version) for version in self._all_versions()), default=0)

    def versions(self) -> list[ModelVersion]:
        """Registered bundles, the newest first; without what is not the version that it says."""
        found = [version for version in self._all_versions() if _has_its_bundle(version)]
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
            BUNDLE_TAG: bundle.name,
            BUNDLE_SHA256_TAG: hashlib.sha256(bundle.read_bytes()).hexdigest(),
            "onnx_sha256": hashlib.sha256(graph).hexdigest(),
        }
        made = self.client.create_model_version(self.asset_id, source, run.info.run_id, tags=tags)
        if int(made.version) != version:
            raise RegistryError(
                f"{self.asset_id}: another training registered version {version} in the meantime; "
                "train again, one at a time"
            )
        self._point(CHALLENGER, version)
        return version

    def version_of(self, alias_or_version: str) -> ModelVersion:
        """Registered bundle behind an alias or a version number.

        Raises:
            RegistryError: there is none.
        """
        found = self._found(alias_or_version)
        if found is not None and _has_its_bundle(found):
            return found
        known = ", ".join(str(version.version) for version in self.versions()) or "none"
        raise RegistryError(
            f"{self.asset_id}: no registered bundle '{alias_or_version}' (versions: {known}); "
            f"run `faultwatch train {self.asset_id}` or name another alias or version"
        )

    def champion(self) -> ModelVersion | None:
        """The registered bundle that devices run; None = none was promoted."""
        return self._found(CHAMPION)

    def _found(self, alias_or_version: str) -> ModelVersion | None:
        try:
            if alias_or_version.isdigit():
                return self.client.get_model_version(self.asset_id, alias_or_version)
            return self.client.get_model_version_by_alias(self.asset_id, alias_or_version)
        except MlflowException as error:
            if error.error_code in NOT_THERE:
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

    def taught(self, version: ModelVersion) -> tuple[datetime, datetime] | None:
        """First and last time of what a registered bundle learned from; None = not noted."""
        noted = self.client.get_run(str(version.run_id)).data.params
        if "normal_from" not in noted:
            return None
        first, last = (datetime.fromisoformat(noted[name]) for name in ("normal_from", "normal_to"))
        return first, last

    def basis(self, version: ModelVersion) -> str:
        """What a registered bundle was made from, as its training noted it; '' = not noted."""
        return str(self.client.get_run(str(version.run_id)).data.tags.get(BASIS_TAG, ""))

    def download(self, version: ModelVersion, folder: Path) -> Path:
        """Copy a registered bundle into a folder.

        Raises:
            RegistryError: what arrived is not what was registered.
        """
        name = version.tags[BUNDLE_TAG]
        path = self._fetch(version, f"{BUNDLE_FOLDER}/{name}", folder)
        return _checked(path, version.tags[BUNDLE_SHA256_TAG], "train again")

    def keep_signed(self, version: ModelVersion, bundle: Path) -> None:
        """Keep the file that devices fetch in place of the one that was registered."""
        folder = f"{BUNDLE_FOLDER}/{RELEASED_FOLDER}"
        self.client.log_artifact(str(version.run_id), str(bundle), folder)
        sha256 = hashlib.sha256(bundle.read_bytes()).hexdigest()
        self.client.set_model_version_tag(self.asset_id, version.version, RELEASED_TAG, sha256)

    def download_for_devices(self, version: ModelVersion, folder: Path) -> Path:
        """Copy what devices fetch into a folder: what was signed anew, or else as registered.

        Raises:
            RegistryError: what arrived is not what was kept.
        """
        if not is_signed_anew(version):
            return self.download(version, folder)
        path = self._fetch(
            version, f"{BUNDLE_FOLDER}/{RELEASED_FOLDER}/{version.tags[BUNDLE_TAG]}", folder
        )
        return _checked(path, version.tags[RELEASED_TAG], "promote it again")

    def rivals(self, version: ModelVersion) -> list[str]:
        """Names of the rivals that are kept with a registered bundle."""
        kept = mlflow.artifacts.list_artifacts(run_id=version.run_id, artifact_path=RIVALS_FOLDER)
        return sorted(Path(entry.path).name for entry in kept if entry.is_dir)

    def download_rival(self, version: ModelVersion, rival: str, folder: Path) -> Path:
        """Copy the bundle of a rival of a registered bundle into a folder."""
        return self._fetch(version, f"{RIVALS_FOLDER}/{rival}/{version.tags[BUNDLE_TAG]}", folder)

    def _fetch(self, version: ModelVersion, artifact: str, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        found = mlflow.artifacts.download_artifacts(
            run_id=version.run_id, artifact_path=artifact, dst_path=str(folder)
        )
        return Path(found).replace(folder / Path(artifact).name)

    def settle(self, *, devices: bool = True) -> None:
        """Finish what a crash left half done: each alias points to where its history says.

        A promotion is written down before the alias moves, and a bundle is whole before it is
        registered: what is written down is right, an alias that lags behind is moved.

        Args:
            devices: move the aliases of devices, too; not for whoever may not.
        """
        newest = max((int(version.version) for version in self.versions()), default=0)
        if newest:
            self._point(CHALLENGER, newest)
        if devices:
            self._follow()

    def finish_before(self, settings: Settings) -> list[str]:
        """Finish what processes left half done that were killed, as far as this user may.

        Args:
            settings: whose the key is that devices trust.

        Returns:
            Names of runs that were lost, and are marked as killed now.
        """
        lost = self.runs.end_lost_runs()
        self.settle(devices=not settings.keys_apart)
        return lost

    def _point(self, alias: str, version: int) -> None:
        """Move an alias, unless it is there."""
        before = self._found(alias)
        if before is not None and int(before.version) == version:
            return
        self.client.set_registered_model_alias(self.asset_id, alias, str(version))

    def point(self, promotion: Promotion) -> None:
        """Remember when, why and by whom, and move the aliases of devices, in this order.

        Raises:
            RegistryError: it is not later than the newest entry, which would go on to count.
        """
        newest = next(iter(self.promotions()), None)
        if newest is not None and promotion.at <= newest.at:
            raise RegistryError(
                f"{self.asset_id}: version {promotion.version} cannot become the "
                f"{promotion.alias} as of {stamp(promotion.at)}: version {newest.version} became "
                f"the {newest.alias} at {stamp(newest.at)}; correct the clock, or name a later time"
            )
        entry = json.dumps({"by": promotion.by, "reason": promotion.reason})
        key = f"{promotion.alias}{SINCE}{stamp(promotion.at)}"
        self.client.set_model_version_tag(self.asset_id, str(promotion.version), key, entry)
        self._follow()

    def trial(self) -> Promotion | None:
        """Which version the canaries try; None = they run what the others run."""
        return on_trial(self.promotions())

    def _follow(self) -> None:
        """Have the aliases of devices, and the model's page, say what the history says."""
        promotions = self.promotions()
        self._show(promotions)
        while (now := self.promotions()) != promotions:  # somebody promoted meanwhile
            promotions = now
            self._show(promotions)

    def _show(self, promotions: Sequence[Promotion]) -> None:
        champion = next((one for one in promotions if one.alias == CHAMPION), None)
        if champion is None:
            return
        self._point(CHAMPION, champion.version)
        self._point(CANARY, (on_trial(promotions) or champion).version)
        self._describe(promotions)

    def _describe(self, promotions: Sequence[Promotion]) -> None:
        """Show the history of champions and canaries on the model's page."""
        rows = [
            f"| {one.version} | {one.alias} | {one.at:%Y-%m-%d %H:%M} UTC | {one.by} "
            f"| {_in_a_cell(one.reason)} |"
            for one in promotions
        ]
        shown = ["| version | as | since | by | why |", "| --- | --- | --- | --- | --- |"]
        for row in rows:
            if len("\n".join([*shown, row])) > MOST_SHOWN:
                break
            shown.append(row)
        self.client.update_registered_model(self.asset_id, "\n".join(shown))

    def champions(self) -> list[Promotion]:
        """History of champions, the newest first."""
        return [one for one in self.promotions() if one.alias == CHAMPION]

    def promotions(self) -> list[Promotion]:
        """History of champions and canaries, the newest first."""
        history = [
            Promotion(
                version=int(version.version),
                at=datetime.fromisoformat(key.removeprefix(alias + SINCE)),
                alias=alias,
                **json.loads(value),
            )
            for version in self.versions()
            for key, value in version.tags.items()
            for alias in (CHAMPION, CANARY)
            if key.startswith(alias + SINCE)
        ]
        return sorted(history, key=lambda promotion: promotion.at, reverse=True)


def on_trial(promotions: Sequence[Promotion]) -> Promotion | None:
    """Which version the canaries try: the newest word is theirs, and not of the champion.

    Args:
        promotions: history of champions and canaries, the newest first.

    Example:
        >>> at = datetime(2026, 1, 1, tzinfo=UTC)
        >>> champion, canary = (Promotion(1, at, "anna", ""), Promotion(2, at, "anna", "", CANARY))
        >>> on_trial([canary, champion]).version
        2
        >>> on_trial([champion, canary, champion]) is None
        True
    """
    champion = next((one for one in promotions if one.alias == CHAMPION), None)
    newest = next(iter(promotions), None)
    if newest is None or newest.alias == CHAMPION:
        return None
    return newest if champion is None or newest.version != champion.version else None


def _has_its_bundle(version: ModelVersion) -> bool:
    """Whether it is what it says; it is not where two trainings took one number."""
    return str(version.tags.get(BUNDLE_TAG, "")).endswith(f"-{version.version}.fwb")


def is_signed_anew(version: ModelVersion) -> bool:
    """Whether devices fetch another file than the training's."""
    return RELEASED_TAG in version.tags


def _checked(path: Path, sha256: str, what_to_do: str) -> Path:
    """A file that is what was registered; any other is removed."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        path.unlink()
        raise RegistryError(
            f"{path.name} is not the file that was registered: its SHA-256 differs; {what_to_do}"
        )
    return path


def stamp(at: datetime) -> str:
    """An instant as tags have it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _in_a_cell(text: str) -> str:
    """Text that cannot end its cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())
