"""Names in MLflow's registry by which devices are given bundles, and by which that is kept."""

CHAMPION, CANARY, CHALLENGER = "champion", "canary", "challenger"
"""Aliases: devices follow the first or the second; the third is what was trained last."""
SINCE = "_since."
"""A tag of a version begins with an alias and this, and ends with when it was given that alias."""
RELEASED_TAG = "released_sha256"
"""Tag of a version: SHA-256 of the file that devices fetch in place of the training's."""
RELEASED_GATE_TAG = "released_gate"
"""Tag of a version: why the gate did not let that file be signed."""
BUNDLE_TAG, BUNDLE_SHA256_TAG = "bundle", "bundle_sha256"
"""Tags of a version: the name and the SHA-256 of the file that its training made."""


def gives_to_devices(tag: str) -> bool:
    """Whether a tag of a version decides what devices run.

    Example:
        >>> [gives_to_devices(tag) for tag in ("canary_since.2026-05-01T00:00:00Z", "gate")]
        [True, False]
    """
    is_since = tag.startswith((CHAMPION + SINCE, CANARY + SINCE))
    return is_since or tag in {RELEASED_TAG, RELEASED_GATE_TAG}
