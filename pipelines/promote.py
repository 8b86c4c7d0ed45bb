"""Promote and roll back: a person moves the alias ``champion``; who, when and why is kept."""

from datetime import UTC, datetime

from prefect import flow

from pipelines.config import load_asset
from pipelines.release import mirror_champion
from pipelines.settings import Settings
from pipelines.tracking import Promotion, Registry, RegistryError


def promote_version(
    registry: Registry, alias_or_version: str, *, at: datetime, by: str, reason: str
) -> Promotion:
    """Make a registered bundle the champion.

    Args:
        registry: of the asset.
        alias_or_version: ``challenger``, or a version number.
        at: when.
        by: who decided.
        reason: why.

    Raises:
        RegistryError: there is no such bundle.
    """
    version = registry.version_of(alias_or_version)
    registry.make_champion(version, at=at, by=by, reason=reason)
    return Promotion(version=int(version.version), at=at, by=by, reason=reason)


def roll_back_champion(registry: Registry, *, at: datetime, by: str, reason: str) -> Promotion:
    """Make the champion before the present one the champion again.

    Raises:
        RegistryError: there was no other champion.
    """
    present = int(registry.version_of("champion").version)
    earlier = [
        promotion.version for promotion in registry.champions() if promotion.version != present
    ]
    if not earlier:
        raise RegistryError(
            f"{registry.asset_id}: version {present} is the only champion there ever was; "
            "promote another version instead"
        )
    return promote_version(registry, str(earlier[0]), at=at, by=by, reason=reason)


@flow(name="promote", description="Make a registered bundle the champion.")
def promote(
    asset_file: str, version: str, by: str, reason: str, at: datetime | None = None
) -> Promotion:
    """Make a registered bundle the champion.

    Args:
        asset_file: asset file, or id of a shipped asset.
        version: ``challenger``, or a version number.
        by: who decided.
        reason: why.
        at: when; None = now.
    """
    settings = Settings()
    registry = Registry(settings, load_asset(asset_file).asset.id)
    promotion = promote_version(registry, version, at=at or datetime.now(UTC), by=by, reason=reason)
    mirror_champion(registry, settings)
    return promotion


@flow(name="roll-back", description="Make the previous champion the champion again.")
def roll_back(asset_file: str, by: str, reason: str, at: datetime | None = None) -> Promotion:
    """Make the previous champion the champion again.

    Args:
        asset_file: asset file, or id of a shipped asset.
        by: who decided.
        reason: why.
        at: when; None = now.
    """
    settings = Settings()
    registry = Registry(settings, load_asset(asset_file).asset.id)
    promotion = roll_back_champion(registry, at=at or datetime.now(UTC), by=by, reason=reason)
    mirror_champion(registry, settings)
    return promotion
