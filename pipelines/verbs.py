"""What each verb does: load one asset, call one flow, print one result.

Slow imports are inside the verbs, so that the command line answers at once.
"""

import argparse
import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pipelines.config import load_asset
from pipelines.settings import Settings, load_settings


def do_demo(options: argparse.Namespace) -> None:
    """Live through the whole chain on the bundled plant."""
    from pipelines.demo import run_demo

    run_demo(Settings(), data=options.data, at=datetime.now(UTC))


def do_init(options: argparse.Namespace) -> None:
    """Write an asset file."""
    from pipelines.init import init_asset

    made = init_asset(
        options.data,
        sql=options.sql,
        time=options.time,
        out=options.out,
        asset_id=options.id,
        settings=load_settings(),
    )
    print(made.summary)


def do_backtest(options: argparse.Namespace) -> None:
    """Learn from one file and score another, or many pairs of them."""
    from pipelines.backtest import run_backtest, told_in_brief
    from pipelines.pairs import print_pairs, read_pairs, run_pairs
    from pipelines.progress import shown_progress
    from pipelines.trial_files import BacktestError
    from pipelines.two_files import TrialOptions

    wanted = TrialOptions(
        train_rows=options.train_rows,
        time=options.time,
        sample_period_s=options.sample_period_s,
        exclude=tuple(options.exclude),
        reconstructor=options.reconstructor,
        far=options.far,
    )
    at = datetime.now(UTC)
    if options.pairs is not None and options.train is None:
        series = read_pairs(options.pairs)
        with shown_progress() as told:
            table = run_pairs(series, options.out, wanted, labels=options.labels, at=at, told=told)
        print_pairs(table)
        return
    if options.test is None or options.pairs is not None:
        raise BacktestError("name the files TRAIN and TEST, or many of them with --pairs, not both")
    with shown_progress() as told:
        summary = run_backtest(
            options.train,
            options.test,
            options.out,
            wanted,
            labels=options.labels,
            at=at,
            told=told,
        )
    print(told_in_brief(summary, options.out))


def do_benchmark(options: argparse.Namespace) -> None:
    """Try the VAE and its rivals on a public data set, or on plants simulated anew."""
    from pipelines.benchmark import BenchmarkError, run_benchmark
    from pipelines.benchmark_plant import run_plant_benchmark
    from pipelines.trial import fitted_trial, try_detector

    folders: list[Path] = options.data or []
    if options.name == "plant":
        if not folders or options.out is None or options.seeds > 1:
            raise BenchmarkError(
                "plant needs --data with a folder for each simulator seed and --out with a file, "
                "and knows no --seeds: name more folders"
            )
        run_plant_benchmark(folders, out=options.out, fit=fitted_trial)
        return
    if len(folders) > 1:
        raise BenchmarkError(f"{options.name} takes one folder, --data names {len(folders)}")
    run_benchmark(
        options.name,
        Settings(),
        data=folders[0] if folders else None,
        seeds=options.seeds,
        out=options.out,
        try_detector=try_detector,
    )


def do_ingest(options: argparse.Namespace) -> None:
    """Read what is new."""
    from pipelines.ingest import ingest

    counts = ingest(options.asset, options.accept, options.anew)
    print(", ".join(f"{n} {name}" for name, n in counts.items() if n or name != "unlisted"))


def do_quarantine(options: argparse.Namespace) -> None:
    """Show rows that could not be used."""
    from pipelines.historian import Historian
    from pipelines.quarantine import print_quarantine

    asset = load_asset(options.asset)
    historian = Historian(Settings().historian_address, asset.asset.id, asset.channel)
    rows = historian.read_quarantine()
    if options.json:
        print(rows.write_json())
    else:
        print_quarantine(rows)


def do_train(options: argparse.Namespace) -> None:
    """Train a challenger."""
    from features.labels import read_instant
    from pipelines.train import train

    given = options.since
    since = read_instant(given, "--since", or_day=True) if given is not None else None
    trained = train(options.asset, since, options.by)
    print(trained["note"])
    print(
        f"\nVersion {trained['version']} is the challenger. Review it:\n"
        f"  {_where_to_review(options.asset, Settings())}\n"
        f'Promote it:\n  faultwatch promote {options.asset} --reason "..."'
    )


def do_fleet(options: argparse.Namespace) -> None:
    """Train all assets of a site."""
    load_settings()
    from pipelines.fleet import find_asset_files, fleet

    find_asset_files(options.places)  # what is not there is said before any server starts
    print(fleet(options.places))


def _where_to_review(asset: str, settings: Settings) -> str:
    if settings.tracking_uri:
        return settings.tracking_uri
    if settings.server_database:
        return f"faultwatch up {asset}"  # its address holds a password
    return f"mlflow ui --backend-store-uri {settings.registry_address}"


def do_evaluate(options: argparse.Namespace) -> None:
    """Judge a registered bundle."""
    from pipelines.evaluate import evaluate

    print(evaluate(options.asset, options.version))


def do_promote(options: argparse.Namespace) -> None:
    """Make a bundle the champion, or try it on the devices that go first."""
    from pipelines.promote import promote

    who = (options.asset, options.version, options.by, options.reason)
    made = promote(*who, at=datetime.now(UTC), alias=options.alias)
    print(f"Version {made.version} is {_role(made.alias)}.")


def do_roll_back(options: argparse.Namespace) -> None:
    """Make the champion before it the champion again, or end a trial."""
    from pipelines.promote import roll_back

    who = (options.asset, options.by, options.reason)
    made = roll_back(*who, at=datetime.now(UTC), alias=options.alias)
    print(f"Version {made.version} is {_role(made.alias)} again.")


def _role(alias: str) -> str:
    return "the champion" if alias == "champion" else "what devices run that follow `canary`"


def do_release(options: argparse.Namespace) -> None:
    """Write the champion's bundle for devices."""
    from pipelines.release import release

    path = Path(release(options.asset, str(options.out), options.version))
    print(
        f"{path}\nOn the device:\n  faultwatch-edge run {path.name} --source - --key faultwatch.pub"
    )


def do_label(options: argparse.Namespace) -> None:
    """Keep what a person says of a stretch of time."""
    from features.labels import read_instant
    from pipelines.labelling import label_interval

    new = label_interval(
        load_asset(options.asset),
        Settings(),
        read_instant(options.start, "FROM"),
        read_instant(options.end, "TO"),
        options.verdict,
        by=options.by,
        note=options.note,
        at=datetime.now(UTC),
    )
    print("Kept; the next training heeds it." if new else "That is known already.")


def do_labels(options: argparse.Namespace) -> None:
    """List what people said."""
    from pipelines.labelling import label_rows, print_labels, read_labels

    labels = read_labels(load_asset(options.asset), Settings())
    if options.json:
        print(json.dumps(label_rows(labels), indent=2, ensure_ascii=False))
    else:
        print_labels(labels)


def do_collect(options: argparse.Namespace) -> None:
    """Collect what devices publish until Ctrl-C."""
    from faultwatch_edge.stopping import Stop
    from pipelines.collect import collect

    def say(sentence: str) -> None:
        with suppress(OSError, ValueError):  # nobody reads it, or the disk of the log is full
            print(f"faultwatch: {sentence}", file=sys.stderr, flush=True)

    with Stop() as stop:
        assets = [load_asset(one) for one in options.assets]
        collect(assets, load_settings(), is_stopped=lambda: stop.is_requested, say=say)


def do_alarms(options: argparse.Namespace) -> None:
    """List the alarms that were collected."""
    from pipelines.alarms import alarm_rows, list_alarms, print_alarms
    from pipelines.journal import Journal

    asset = load_asset(options.asset)
    journal = Journal(load_settings().historian_address, asset.asset.id)
    alarms = list_alarms(journal.alarms.read())
    if options.json:
        print(json.dumps(alarm_rows(alarms), indent=2, ensure_ascii=False))
    else:
        print_alarms(alarms)


def do_quality(options: argparse.Namespace) -> None:
    """Say what to know of the samples."""
    from features.findings import QualityReport
    from features.labels import read_instant
    from pipelines.quality import print_quality, quality

    start = read_instant(options.start, "--from") if options.start else None
    end = read_instant(options.end, "--to") if options.end else None
    found = quality(options.asset, start, end)
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print_quality(load_asset(options.asset).asset.id, QualityReport.from_dict(found))


def do_retrain(options: argparse.Namespace) -> None:
    """Train on what is new, and promote it if it is better."""
    from pipelines.retrain import retrain

    came = retrain(options.asset, options.reason)
    print(came.note or came)


def do_sign(options: argparse.Namespace) -> None:
    """Sign and promote what the gate of a retraining allowed."""
    from pipelines.sign import sign

    print(sign(options.asset))


def do_monitor(options: argparse.Namespace) -> None:
    """Look whether the champion still fits."""
    from pipelines.monitor import monitor

    print(monitor(options.asset).note())


def do_champions(options: argparse.Namespace) -> None:
    """Show what was champion or canary, since when, by whom and why."""
    from pipelines.champions import champion_rows, print_champions
    from pipelines.registry import Registry
    from pipelines.tracking import answered

    with answered():
        promotions = Registry(Settings(), load_asset(options.asset).asset.id).promotions()
    if options.json:
        print(json.dumps(champion_rows(promotions), indent=2, ensure_ascii=False))
    else:
        print_champions(promotions)


def do_schedule(options: argparse.Namespace) -> None:
    """Add an asset to the running services, or take it off."""
    from pipelines.up import schedule_asset, unschedule_asset

    if options.off:
        gone = unschedule_asset(Settings(), options.asset)
        print("Nothing of it is scheduled any more." if gone else "It was not scheduled.")
        return
    print(schedule_asset(Settings(), options.asset, cron=options.cron))


def do_up(options: argparse.Namespace) -> None:
    """Run MLflow, Prefect and the schedules until Ctrl-C."""
    from pipelines.up import run_services

    run_services(Settings(), options.assets, cron=options.cron)


def do_keys(options: argparse.Namespace) -> None:
    """Make a key pair."""
    from faultwatch_edge.keys import make_key_pair

    private, public = make_key_pair(options.out or Settings().signing_key_file.parent)
    print(f"{private}  private: signs bundles; stays with whoever releases")
    print(f"{public}  public: goes to the devices")
