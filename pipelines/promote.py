"""Promote and roll back: a person moves the aliases of devices; who, when and why is kept."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from prefect import flow
from pydantic import AwareDatetime

from pipelines.aliases import CANARY
from pipelines.config import load_asset
from pipelines.registry import Promotion, RegisteredVersion, Registry, RegistryError
from pipelines.release import mirror_champion
from pipelines.settings import Settings
from pipelines.signing import sign_version
from pipelines.tracking import answered


def promote_version(
    registry: Registry,
    settings: Settings,
    alias_or_version: str,
    *,
    at: datetime,
    by: str,
    reason: str,
) -> Promotion:
    """Make a registered bundle the champion; a trial of it by the canaries has then passed.

    Args:
        registry: of the asset.
        settings: the keys.
        alias_or_version: ``challenger``, ``canary`` or a version number.
        at: when.
        by: who decided.
        reason: why.

    Raises:
        RegistryError: there is no such bundle, or the canaries try another one.
    """
    found = registry.version_of(alias_or_version)
    return promote_registered(registry, settings, found, at=at, by=by, reason=reason)


def promote_registered(
    registry: Registry,
    settings: Settings,
    version: RegisteredVersion,
    *,
    at: datetime,
    by: str,
    reason: str,
) -> Promotion:
    """The same of what was read from the registry before, and of no other file since then."""
    _check_trial(registry, int(version.version))
    sign_version(registry, settings, version)
    promotion = Promotion(int(version.version), at, by, reason)
    registry.point(promotion)
    return promotion


def try_version(
    registry: Registry,
    settings: Settings,
    alias_or_version: str,
    *,
    at: datetime,
    by: str,
    reason: str,
) -> Promotion:
    """Give a registered bundle to the devices that follow ``canary``; the champion stays.

    The next champion, or a roll-back of the canaries, ends the trial.

    Args:
        registry: of the asset.
        settings: the keys.
        alias_or_version: ``challenger`` or a version number.
        at: when.
        by: who decided.
        reason: why.

    Raises:
        RegistryError: there is no such bundle, nothing to go back to, or another one is tried.
    """
    registry.settle()
    found = registry.version_of(alias_or_version)
    version, champion = int(found.version), registry.champion_version()
    if champion is None or champion == version:
        present = "there is no champion to go back to" if champion is None else "it is the champion"
        raise RegistryError(
            f"{registry.asset_id}: version {version} cannot go on trial: {present}; "
            + ("promote one first" if champion is None else "name a version that is not")
        )
    _check_trial(registry, version)
    sign_version(registry, settings, found)
    promotion = Promotion(version, at, by, reason, CANARY)
    registry.point(promotion)
    return promotion


def end_trial(
    registry: Registry, settings: Settings, *, at: datetime, by: str, reason: str
) -> Promotion:
    """Take back what the canaries try: they run the champion again.

    Raises:
        RegistryError: they try nothing.
    """
    registry.settle()
    champion = registry.champion_version()
    if registry.trial() is None or champion is None:
        raise RegistryError(
            f"{registry.asset_id}: the canaries run the champion; there is nothing to take back"
        )
    sign_version(registry, settings, registry.version_of(str(champion)))
    promotion = Promotion(champion, at, by, reason, CANARY)
    registry.point(promotion)
    return promotion


def _check_trial(registry: Registry, version: int) -> None:
    """A device goes back by one version: canaries that went on meanwhile could not.

    Raises:
        RegistryError: the canaries try another version.
    """
    trial = registry.trial()
    if trial is not None and trial.version != version:
        raise RegistryError(
            f"{registry.asset_id}: version {trial.version} is on trial with the canaries since "
            f"{trial.at:%Y-%m-%d %H:%M} UTC; promote that one, or end its trial by "
            "`faultwatch roll-back --canary`"
        )


def roll_back_champion(
    registry: Registry, settings: Settings, *, at: datetime, by: str, reason: str
) -> Promotion:
    """Undo the newest promotion that still stands: the champion before it is one again.

    It ends a trial of the canaries, too.

    Raises:
        RegistryError: there was no other champion.
    """
    registry.settle()
    standing = standing_champions(registry.champions())
    if len(standing) < 2:  # noqa: PLR2004 - the present one, and one before it
        present = standing[-1] if standing else "none"
        raise RegistryError(
            f"{registry.asset_id}: there is no champion before the present one ({present}) that "
            "was not taken back; promote another version instead"
        )
    sign_version(registry, settings, registry.version_of(str(standing[-2])))
    promotion = Promotion(standing[-2], at, by, reason)
    registry.point(promotion)
    return promotion


def standing_champions(history: Sequence[Promotion]) -> list[int]:
    """Versions that were champion and not taken back, the present one last.

    To promote the one before the present is to take the present one back.

    Args:
        history: the newest first.

    Example:
        >>> at = datetime(2026, 1, 1, tzinfo=UTC)
        >>> standing_champions([Promotion(version, at, "anna", "") for version in (1, 3, 2, 1)])
        [1, 2, 3, 1]
        >>> standing_champions([Promotion(version, at, "anna", "") for version in (2, 3, 2, 1)])
        [1, 2]
    """
    standing: list[int] = []
    for promotion in reversed(history):
        if promotion.version in standing[-2:-1]:
            standing.pop()
        elif promotion.version not in standing[-1:]:
            standing.append(promotion.version)
    return standing


@flow(name="promote", description="Make a registered bundle the champion, or try it first.")
@answered()
def promote(
    asset_file: str,
    version: str,
    by: str,
    reason: str,
    *,
    at: AwareDatetime | None = None,
    alias: Literal["champion", "canary"] = "champion",
) -> Promotion:
    """Make a registered bundle the champion, or try it on the devices that go first.

    Args:
        asset_file: asset file, or id of a shipped asset.
        version: ``challenger``, ``canary`` or a version number.
        by: who decided.
        reason: why.
        at: when; None = now.
        alias: which devices take it: all, or those that go first.
    """
    settings = Settings()
    registry = Registry(settings, load_asset(asset_file).asset.id)
    move = try_version if alias == CANARY else promote_version
    promotion = move(registry, settings, version, at=at or datetime.now(UTC), by=by, reason=reason)
    mirror_champion(registry, settings)
    return promotion


@flow(name="roll-back", description="Make the previous champion the champion again.")
@answered()
def roll_back(
    asset_file: str,
    by: str,
    reason: str,
    *,
    at: AwareDatetime | None = None,
    alias: Literal["champion", "canary"] = "champion",
) -> Promotion:
    """Make the previous champion the champion again, or end a trial of the canaries.

    Args:
        asset_file: asset file, or id of a shipped asset.
        by: who decided.
        reason: why.
        at: when; None = now.
        alias: which devices go back: all, or those that went first.
    """
    settings = Settings()
    registry = Registry(settings, load_asset(asset_file).asset.id)
    undo = end_trial if alias == CANARY else roll_back_champion
    promotion = undo(registry, settings, at=at or datetime.now(UTC), by=by, reason=reason)
    mirror_champion(registry, settings)
    return promotion
