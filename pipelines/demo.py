"""The demo: the whole chain on the bundled plant, from its files to alarms, offline.

Ingest, train, promote and release are the same flows that a plant uses. Then the agent lives
through normal days and twenty faults that nothing was learned from.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from faultwatch_edge.bundle import Bundle, read_bundle
from faultwatch_edge.keys import load_trusted_keys, make_key_pair
from features.datasets.tep import LABELS_FILE, Run, load_runs, load_samples
from pipelines.config import load_asset, shipped_assets
from pipelines.ingest import ingest
from pipelines.promote import promote
from pipelines.registry import Registry
from pipelines.release import release
from pipelines.replay import Replay, contributor_names, moment, raised_alarms, replay
from pipelines.report import Life, draw_lives
from pipelines.settings import Settings
from pipelines.terminal import standard_output
from pipelines.threshold import count_band
from pipelines.train import train

PLANT = "tennessee_eastman"
RIVAL = "pca"


@dataclass(frozen=True)
class RunOutcome:
    """What the agent made of one run of the plant."""

    run: Run
    false_alarms: int
    """Alarms raised in normal running: before the onset, or in the whole of a normal run."""
    delay_s: float | None
    """From the onset to the alarm; None = normal run, or not found."""
    contributors: tuple[str, ...]
    """Channels that the alarm named, the strongest first."""


def run_demo(settings: Settings, *, data: Path | None, at: datetime) -> None:
    """Live through the whole chain and show what came of it.

    Args:
        settings: where everything is kept.
        data: folder of the plant's data; None = those that come with Faultwatch.
        at: when the demo's model is promoted.
    """
    console = standard_output(plain_width=140)
    asset_file = _asset_file(settings, data)
    bundle_path, rival_path = _make_bundles(settings, asset_file, console, at)
    console.rule("4  Live: the agent on days that nothing was learned from")
    trusted = load_trusted_keys([settings.public_key_file])
    bundle, rival = (read_bundle(path, trusted_keys=trusted) for path in (bundle_path, rival_path))
    runs = [run for run in load_runs(data) if run.kind != "train"]
    samples = pl.concat([load_samples("held_out", data), load_samples("fault", data)])
    own, theirs = replay(bundle, samples), replay(rival, samples)
    outcomes, rivals = judge_runs(runs, own), judge_runs(runs, theirs)
    console.print(_fault_table(outcomes, rivals))
    console.print(_false_alarms("Faultwatch", outcomes, bundle), soft_wrap=True)
    console.print(_false_alarms("PCA T²+Q", rivals, rival), soft_wrap=True)
    lives = [
        _life("Faultwatch", bundle, own, outcomes),
        _life("PCA T²+Q", rival, theirs, rivals),
    ]
    _save_picture(settings.home / "demo.png", lives, runs)
    _save_journal(settings.home / "demo_alarms.jsonl", own)
    console.print(_what_next(settings, bundle_path), soft_wrap=True)


def _make_bundles(
    settings: Settings, asset_file: str, console: Console, at: datetime
) -> tuple[Path, Path]:
    """From files to two signed bundles: the champion's, and that of its linear rival."""
    if not settings.signing_key_file.is_file():
        make_key_pair(settings.signing_key_file.parent)
    console.rule("1  Ingest: files to historian")
    ingest(asset_file)
    console.rule("2  Train: historian to registered challenger")
    version = str(train(asset_file)["version"])
    console.rule("3  Promote and release: a signed file for the device")
    promote(asset_file, version, "demo", "the demo promotes what it has just trained", at=at)
    folder = settings.home / "release"
    bundle = Path(release(asset_file, str(folder)))
    registry = Registry(settings, load_asset(asset_file).asset.id)
    return bundle, registry.download_rival(registry.version_of(version), RIVAL, folder / RIVAL)


def _asset_file(settings: Settings, data: Path | None) -> str:
    """The shipped asset; or a copy of it under another id that reads another folder."""
    if data is None:
        return PLANT
    text = shipped_assets()[PLANT].read_text(encoding="utf-8")
    suffix = re.sub(r"[^a-z0-9]+", "_", data.resolve().name.lower())
    folder = data.resolve().as_posix()
    text = re.sub(r"(?m)^id = .*$", f'id = "{PLANT}_{suffix}"', text, count=1)
    text = re.sub(r"(?m)^files = .*$", f'files = "{folder}/*.parquet"', text, count=1)
    text = re.sub(r"(?m)^labels = .*$", f'labels = "{folder}/{LABELS_FILE}"', text, count=1)
    path = settings.home / f"{PLANT}_{suffix}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def judge_runs(runs: Sequence[Run], life: Replay) -> list[RunOutcome]:
    """Attribute each alarm to the run in which it was raised."""
    raised = [(moment(alarm, "raised_at"), alarm) for alarm in raised_alarms(life)]
    outcomes = []
    for run in runs:
        own = [(at, alarm) for at, alarm in raised if run.start < at <= run.end]
        true = [(at, alarm) for at, alarm in own if run.onset is not None and at > run.onset]
        first = true[0] if true else None
        outcomes.append(
            RunOutcome(
                run=run,
                false_alarms=len(own) - len(true),
                delay_s=(first[0] - run.onset).total_seconds() if first and run.onset else None,
                contributors=contributor_names(first[1]) if first else (),
            )
        )
    return outcomes


def _fault_table(outcomes: Sequence[RunOutcome], rivals: Sequence[RunOutcome]) -> Table:
    table = Table(title="Twenty faults that nothing was learned from", title_justify="left")
    for column in ("", "disturbance", "alarm after", "first contributors", "PCA T²+Q after"):
        table.add_column(column, justify="right" if "after" in column else "left", overflow="fold")
    for outcome, rival in zip(outcomes, rivals, strict=True):
        if outcome.run.disturbance is not None:
            table.add_row(
                str(outcome.run.disturbance),
                outcome.run.description,
                _minutes(outcome.delay_s),
                "\n".join(outcome.contributors[:3]),
                _minutes(rival.delay_s),
            )
    return table


def _minutes(delay_s: float | None) -> str:
    return "not found" if delay_s is None else f"{delay_s / 60:.0f} min"


def _false_alarms(name: str, outcomes: Sequence[RunOutcome], bundle: Bundle) -> str:
    """What the promise was, and what came of it on the held-out normal runs."""
    normal = [outcome for outcome in outcomes if outcome.run.kind == "held_out"]
    days = sum((outcome.run.end - outcome.run.start).total_seconds() for outcome in normal) / 86_400
    budget = bundle.manifest.threshold.false_alarms_per_day
    low, high = count_band(budget * days)
    found = sum(outcome.delay_s is not None for outcome in outcomes)
    false = sum(outcome.false_alarms for outcome in normal)
    before = sum(outcome.false_alarms for outcome in outcomes) - false
    return (
        f"{name}: {found} of {len(outcomes) - len(normal)} faults found; {false} false alarms in "
        f"{days:.0f} held-out normal days, where the budget of {budget:g} a day allows "
        f"{low} to {high} (90% band), and {before} in the hours before the faults"
    )


def _life(name: str, bundle: Bundle, life: Replay, outcomes: Sequence[RunOutcome]) -> Life:
    return Life(
        name=name,
        times=np.array([row.end_us for row in life.windows], dtype="datetime64[us]"),
        score=np.array(
            [np.nan if row.anomalous is None else row.score for row in life.windows], np.float32
        ),
        threshold=bundle.manifest.threshold.score,
        delays_min=[
            None if outcome.delay_s is None else outcome.delay_s / 60
            for outcome in outcomes
            if outcome.run.onset is not None
        ],
    )


def _save_picture(path: Path, lives: Sequence[Life], runs: Sequence[Run]) -> None:
    spans = [(run.start, run.end, run.onset) for run in runs]
    names = [f"{run.disturbance} {run.description}" for run in runs if run.onset is not None]
    draw_lives(lives, spans, names).savefig(path, dpi=110)


def _save_journal(path: Path, life: Replay) -> None:
    lines = (json.dumps(message) + "\n" for message in life.messages)
    path.write_text("".join(lines), encoding="utf-8")


def _what_next(settings: Settings, bundle: Path) -> str:
    key = bundle.parent / settings.public_key_file.name
    return (
        f"\nThe picture:       {settings.home / 'demo.png'}\n"
        f"Every message:     {settings.home / 'demo_alarms.jsonl'}\n"
        f"The training:      faultwatch up {PLANT}  (MLflow, Prefect and weekly retrainings)\n"
        f"The signed bundle: faultwatch-edge check {bundle} --key {key}\n"
        "Your own machine:  faultwatch init DATA  (then ingest, train, promote, release)"
    )
