"""Promote and roll back: a person moves the alias ``champion``; who, when and why is kept."""

from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import flow

from pipelines.config import load_asset
from pipelines.registry import Promotion, Registry, RegistryError
from pipelines.release import mirror_champion
from pipelines.settings import Settings


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
    """Undo the newest promotion that still stands: the champion before it is one again.

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
    return promote_version(registry, str(standing[-2]), at=at, by=by, reason=reason)


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
