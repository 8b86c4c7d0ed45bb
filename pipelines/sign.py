"""Sign flow: finishes, where the key is that devices trust, what a retraining may not finish."""

from collections.abc import Callable
from datetime import UTC, datetime

from prefect import flow, get_run_logger

from pipelines.aliases import RELEASED_GATE_TAG
from pipelines.config import AssetConfig, load_asset
from pipelines.gate_verdict import Verdict, keep_verdict, verdict_of
from pipelines.history import read_history
from pipelines.judging import judge_version
from pipelines.promote import promote_registered
from pipelines.promotion_gate import Outcome
from pipelines.registry import RegisteredVersion, Registry
from pipelines.release import mirror_champion
from pipelines.retrain import is_finished, why_wait
from pipelines.settings import Settings, SettingsError
from pipelines.tracking import answered

BY = "sign"
"""Who promoted, where it was this flow."""


def sign_asset(asset: AssetConfig, settings: Settings, *, clock: Callable[[], datetime]) -> str:
    """Promote the newest version, if a retraining's gate allowed it and the gate says so here.

    The gate is asked again, because what a training has written down is no more than its word. A
    no is kept, and holds until another version is champion. A version that a person made champion
    meanwhile stays.

    Args:
        asset: the asset.
        settings: historian, MLflow, keys, folder of releases.
        clock: tells the time.

    Returns:
        What came of it, for people.

    Raises:
        pipelines.settings.SettingsError: no key is named.
        pipelines.registry.RegistryError: the bundle is not what was registered.
        faultwatch_edge.errors.EdgeError: no training signed it, a device would refuse it, or the
            key cannot be read.
    """
    if settings.release_key is None:
        raise SettingsError(
            "FAULTWATCH_RELEASE_KEY is not set, so that there is nothing to sign with; set it to "
            "the private key that devices trust"
        )
    registry = Registry(settings, asset.asset.id)
    registry.settle()
    mirror_champion(registry, settings)
    newest = next(iter(registry.versions()), None)
    if newest is None or not _is_allowed(registry, newest):
        return "nothing to sign: the newest version was not allowed by the gate, or is given out"
    if held := why_wait(registry, settings):
        return f"version {newest.version} waits: {held}"
    beside = registry.champion_version()
    before = verdict_of(newest, RELEASED_GATE_TAG)
    if before is not None and before.beside == beside:
        return f"version {newest.version}, {before.outcome} here: {before.reason}"
    said = judge_version(asset, settings, read_history(asset, settings), newest).decision
    outcome, why = said.outcome.value, said.reason
    if registry.champion_version() != beside:
        return f"version {newest.version} waits: the champion changed while it was judged"
    if said.outcome is not Outcome.PROMOTED:  # a yes is not kept: a forged one would promote
        no = Verdict(outcome, why, clock(), beside)
        keep_verdict(registry, newest, no, RELEASED_GATE_TAG)
        return f"version {newest.version}, {outcome} here: {why}"
    promote_registered(registry, settings, newest, at=clock(), by=BY, reason=why)
    mirror_champion(registry, settings)
    return f"version {newest.version}, promoted: {why}"


def _is_allowed(registry: Registry, version: RegisteredVersion) -> bool:
    """Whether a retraining's gate said yes to a version, beside what is champion now."""
    verdict = verdict_of(version)
    if verdict is None or is_finished(registry, version):
        return False
    return verdict.beside == registry.champion_version()


@flow(name="sign", description="Sign and promote what the gate of a retraining allowed.")
@answered()
def sign(asset_file: str) -> str:
    """Sign and promote what the gate of a retraining allowed.

    Args:
        asset_file: asset file, or id of a shipped asset.
    """
    came = sign_asset(load_asset(asset_file), Settings(), clock=lambda: datetime.now(UTC))
    get_run_logger().info("%s", came)
    return came
