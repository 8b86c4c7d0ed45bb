"""Evaluate flow: a registered bundle, judged on the history that nothing was learned from."""

import tempfile
from pathlib import Path

import numpy as np
from prefect import flow
from prefect.artifacts import create_markdown_artifact

from faultwatch_edge.bundle import Bundle, read_bundle
from faultwatch_edge.keys import load_trusted_keys
from features.channels import channel_names
from pipelines.config import AssetConfig, load_asset
from pipelines.history import History, read_history
from pipelines.injected import judge_injected
from pipelines.replay import judge_bundle
from pipelines.settings import Settings
from pipelines.tracking import Registry
from pipelines.verdict import Scorecard, describe


def score_bundle(asset: AssetConfig, name: str, bundle: Bundle, history: History) -> Scorecard:
    """Judge a bundle on held-out running: as it is, and with faults put in.

    Args:
        asset: its channels, and the seed of the injected faults.
        name: what the scorecard is called.
        bundle: what a device would run.
        history: only its held-out part is replayed.
    """
    names = channel_names(asset.channel)
    spread = np.nanstd(history.normal.select(names).to_numpy(), axis=0)
    return Scorecard(
        name=name,
        threshold=bundle.manifest.threshold,
        evaluation=judge_bundle(bundle, history.held_out, history.intervals),
        injected=judge_injected(
            bundle,
            history.held_out,
            history.intervals,
            deviations=dict(zip(names, spread.tolist(), strict=True)),
            seed=asset.model.seed,
        ),
    )


@flow(name="evaluate", description="Judge a registered bundle on held-out history.")
def evaluate(asset_file: str, version: str = "challenger") -> str:
    """Judge a registered bundle on held-out history.

    Args:
        asset_file: asset file, or id of a shipped asset.
        version: alias or version number.
    """
    asset, settings = load_asset(asset_file), Settings()
    registry = Registry(settings, asset.asset.id)
    with tempfile.TemporaryDirectory() as folder:
        path = registry.download(registry.version_of(version), Path(folder))
        bundle = read_bundle(path, trusted_keys=load_trusted_keys([settings.public_key_file]))
    name = f"{bundle.manifest.reconstructor} {bundle.manifest.version}"
    card = score_bundle(asset, name, bundle, read_history(asset, settings))
    note = describe([card], None)
    create_markdown_artifact(note, key=f"evaluate-{asset.asset.id}".replace("_", "-"))
    return note
