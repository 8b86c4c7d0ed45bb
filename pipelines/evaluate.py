"""Evaluate flow: a registered bundle, judged on the history that nothing was learned from."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from faultwatch_edge.bundle import Bundle, Certificate, read_bundle
from faultwatch_edge.keys import load_trusted_keys
from features.channels import channel_names
from features.grid import WindowConfig
from features.injection import normal_deviations
from features.quality import assess_quality
from pipelines.candidate import asset_windows
from pipelines.certificate import certify
from pipelines.config import AssetConfig, load_asset
from pipelines.detectability import find_same_faults
from pipelines.history import History, read_history
from pipelines.injected import judge_injected
from pipelines.outcome import Outcome, count_figures
from pipelines.outcome_files import write_outcome
from pipelines.registry import RegisteredVersion, Registry, RegistryError
from pipelines.replay import judge_bundle
from pipelines.report import draw_certificate
from pipelines.settings import Settings
from pipelines.tracking import answered
from pipelines.verdict import Scorecard, describe, run_metrics, tables_of
from pipelines.watch import runtime_rate, watch, with_row_numbers

Say = Callable[[str], None]


def score_bundle(asset: AssetConfig, name: str, bundle: Bundle, history: History) -> Scorecard:
    """Judge a bundle on held-out running: as it is, and with faults put in.

    Args:
        asset: its channels, and the seed of the injected faults.
        name: what the scorecard is called.
        bundle: what a device would run.
        history: only its held-out part is replayed.
    """
    return Scorecard(
        name=name,
        threshold=bundle.manifest.threshold,
        evaluation=judge_bundle(bundle, history.held_out, history.intervals),
        injected=judge_injected(
            bundle,
            history.held_out,
            history.intervals,
            deviations=normal_deviations(history.normal, channel_names(asset.channel)),
            seed=asset.model.seed,
        ),
    )


def find_injected(
    asset: AssetConfig, bundles: Sequence[Bundle], history: History
) -> list[NDArray[np.bool_]]:
    """What each bundle finds of the same faults in held-out running, by `find_same_faults`."""
    return find_same_faults(
        bundles,
        history.held_out,
        history.intervals,
        deviations=normal_deviations(history.normal, channel_names(asset.channel)),
        seed=asset.model.seed,
    )


def certify_bundle(asset: AssetConfig, bundle: Bundle, history: History) -> Certificate | None:
    """The smallest faults that a bundle finds in held-out running, by `certify`."""
    return certify(
        bundle,
        history.held_out,
        history.intervals,
        deviations=normal_deviations(history.normal, channel_names(asset.channel)),
        seed=asset.model.seed,
    )


def evaluate_asset(
    asset: AssetConfig, settings: Settings, version: str, *, say: Say = lambda _: None
) -> str:
    """Judge a registered bundle and its rivals, and keep a run with the page of a backtest.

    Args:
        asset: the asset.
        settings: historian and MLflow.
        version: alias or version number.
        say: takes a sentence on what is going on.

    Returns:
        The note at the top of the run.

    Raises:
        pipelines.registry.RegistryError: there is no such bundle, or it has other channels.
        pipelines.history.HistoryError: there is nothing to judge by.
    """
    registry = Registry(settings, asset.asset.id)
    registered = registry.version_of(version)
    history = read_history(asset, settings).unseen(registry.learned_to(registered))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundles = _bundles(registry, registered, settings, folder)
        check_channels(asset, next(iter(bundles.values())))
        say(f"replaying {history.held_out.height} samples, labelled and injected faults")
        cards = [
            score_bundle(asset, name if place else f"{name} {registered.version}", bundle, history)
            for place, (name, bundle) in enumerate(bundles.items())
        ]
        note = describe(cards, None)
        say("looking for the smallest faults that are found")
        certificate = certify_bundle(asset, next(iter(bundles.values())), history)
        (folder / "report").mkdir()
        write_outcome(_outcome(asset, bundles, history, folder, certificate), folder / "report")
        name = f"{asset.asset.id} {registered.version}, judged again"
        tags = {"asset": asset.asset.id, "evaluated_version": str(registered.version)}
        with registry.runs.start(name, tags):
            registry.runs.log_results(
                metrics=run_metrics(cards, certificate),
                figures=draw_certificate(certificate),
                tables=tables_of(cards, certificate),
                note=note,
            )
            registry.runs.log_report(folder / "report")
    return note


def check_channels(asset: AssetConfig, bundle: Bundle) -> None:
    """Refuse a bundle of other channels than the asset file has.

    Raises:
        pipelines.registry.RegistryError: it has other ones, or in another order.
    """
    names = tuple(channel_names(asset.channel))
    if bundle.manifest.channel_names != names:
        other = sorted({*names} ^ {*bundle.manifest.channel_names})
        what = f"differ in {', '.join(other)}" if other else "are in another order"
        raise RegistryError(
            f"{asset.asset.id}: the channels of version {bundle.manifest.version} and of the asset "
            f"file {what}; train again, or evaluate with the file that it was trained with"
        )


def _bundles(
    registry: Registry, registered: RegisteredVersion, settings: Settings, folder: Path
) -> dict[str, Bundle]:
    """The registered bundle, then those of its rivals that are kept with it, by reconstructor."""
    trusted = load_trusted_keys([settings.public_key_file])
    bundle = read_bundle(registry.download(registered, folder / "own"), trusted_keys=trusted)
    bundles = {bundle.manifest.reconstructor: bundle}
    for rival in registry.rivals(registered):
        path = registry.download_rival(registered, rival, folder / rival)
        bundles[rival] = read_bundle(path, trusted_keys=trusted)
    return bundles


def _outcome(
    asset: AssetConfig,
    bundles: dict[str, Bundle],
    history: History,
    folder: Path,
    certificate: Certificate | None,
) -> Outcome:
    """What came of the held-out history, as of the second file of a backtest."""
    bundle = next(iter(bundles.values()))
    window = WindowConfig.model_validate(asdict(bundle.manifest.window))
    asset = asset.model_copy(update={"window": window})
    columns = {channel.name: channel.tag or channel.name for channel in asset.channel}
    rows = with_row_numbers(history.held_out)
    watched = watch(bundles, asset, [rows], columns, folder=folder / "scores")
    return Outcome(
        asset=asset,
        columns=columns,
        learned_from=f"{asset.asset.id}, what teaches now",
        tried_on=f"{asset.asset.id}, held out",
        samples=history.normal,
        bundles=bundles,
        normal=None,
        far=None,
        watched=watched,
        figures=count_figures(watched, history.intervals, window=window),
        intervals=history.intervals,
        rows=rows.height,
        since_row=0,
        has_times=True,
        is_in_order=True,
        quality=(
            assess_quality(
                [history.normal], asset.channel, window=window, false_alarms_per_day=None
            ),
            assess_quality(
                [history.held_out],
                asset.channel,
                window=window,
                false_alarms_per_day=None,
                upset=None,
            ),
        ),
        seconds_to_fit=None,
        runtime_windows_per_second=runtime_rate(bundle, asset_windows(asset, history.held_out)),
        certificate=certificate,
        warnings=(),
    )


@flow(name="evaluate", description="Judge a registered bundle on held-out history.")
@answered()
def evaluate(asset_file: str, version: str = "challenger") -> str:
    """Judge a registered bundle on held-out history; a run in MLflow keeps what came of it.

    Args:
        asset_file: asset file, or id of a shipped asset.
        version: alias or version number.
    """
    asset = load_asset(asset_file)
    note = evaluate_asset(asset, Settings(), version, say=get_run_logger().info)
    create_markdown_artifact(note, key=f"evaluate-{asset.asset.id}".replace("_", "-"))
    return note
