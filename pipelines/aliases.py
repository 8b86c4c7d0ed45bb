"""Names in MLflow's registry by which devices are given bundles, and by which that is kept."""

CHAMPION, CANARY, CHALLENGER = "champion", "canary", "challenger"
"""Aliases: devices follow the first or the second; the third is what was trained last."""
SINCE = "_since."
"""A tag of a version begins with an alias and this, and ends with when it was given that alias."""
RELEASED_TAG = "released_sha256"
"""Tag of a version: SHA-256 of the file that devices fetch in place of the training's."""


def gives_to_devices(tag: str) -> bool:
    """Whether a tag of a version decides what devices run.

    Example:
        >>> [gives_to_devices(tag) for tag in ("canary_since.2026-05-01T00:00:00Z", "gate")]
        [True, False]
    """
    return tag == RELEASED_TAG or tag.startswith((CHAMPION + SINCE, CANARY + SINCE))
