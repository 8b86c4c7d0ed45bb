"""The command line: parses, loads one asset, calls one flow, prints one result."""

import argparse
import getpass
import logging
import math
import os
import sys
from importlib import import_module
from pathlib import Path

from pipelines import verbs
from pipelines.config import load_asset
from pipelines.settings import load_settings

QUIET = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",  # within a minute
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "OMP_NUM_THREADS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Nothing phones home, small models train on one thread, a server that starts anew is waited for; a
value that the user has set stays."""

EXPECTED = {
    "faultwatch_edge.errors": ("EdgeError",),
    "features.datasets.errors": ("DatasetError",),
    "features.labels": ("LabelError",),
    "features.first_look.pieces": ("InspectionError",),
    "features.schema": ("SchemaError",),
    "models.calibration": ("CalibrationError",),
    "models.graph": ("ExportError",),
    "pipelines.benchmark": ("BenchmarkError",),
    "pipelines.config": ("ConfigError",),
    "pipelines.reading": ("ReadError",),
    "pipelines.trial_files": ("BacktestError",),
    "pipelines.collect": ("CollectError",),
    "pipelines.connection": ("DatabaseError",),
    "pipelines.data_files": ("InitError",),
    "pipelines.fleet": ("FleetError",),
    "pipelines.historian": ("HistorianError",),
    "pipelines.history": ("HistoryError",),
    "pipelines.ingest": ("IngestError",),
    "pipelines.processes": ("BusyError",),
    "pipelines.registry": ("RegistryError",),
    "pipelines.retrain": ("RetrainingError",),
    "pipelines.settings": ("SettingsError",),
    "pipelines.tables": ("TableError",),
    "pipelines.tracking": ("AwayError", "TrackingError"),
    "pipelines.train": ("TrainingError",),
    "pipelines.up": ("StartError",),
}
"""Errors whose sentence is all that a user needs, by the module that defines them."""


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; 0 = done, 2 = a sentence on standard error says what to do."""
    options = make_parser().parse_args(arguments)
    for logger in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(logger).addFilter(_without_traceback)
    try:
        _prepare_environment(has_flow=options.run is not verbs.do_backtest)
        for asset_file in _asset_files(options):
            load_asset(asset_file)  # a wrong option is answered before any server starts
        options.run(options)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not isinstance(error, _expected_errors()):
            raise
        print(f"faultwatch: {error}", file=sys.stderr)
        return 2
    return 0


def _prepare_environment(*, has_flow: bool) -> None:
    """Set what Prefect and MLflow read when they are first imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    home = load_settings().home.resolve() / "prefect"
    folder = Path(os.environ.setdefault("PREFECT_HOME", str(home)))
    if has_flow:
        folder.mkdir(parents=True, exist_ok=True)


def _asset_files(options: argparse.Namespace) -> list[str]:
    """Asset files that the verb names; one that is taken off may be gone."""
    if getattr(options, "off", False):
        return []
    return [*getattr(options, "assets", []), *filter(None, [getattr(options, "asset", None)])]


def _without_traceback(record: logging.LogRecord) -> bool:
    """Leave only the sentence of an expected error in the log of a flow or task."""
    if record.exc_info and isinstance(record.exc_info[1], _expected_errors()):
        record.exc_info = None
    return True


def _expected_errors() -> tuple[type[Exception], ...]:
    """The expected errors of the modules that this process has loaded."""
    return tuple(
        getattr(sys.modules[module], name)
        for module, names in EXPECTED.items()
        if module in sys.modules
        for name in names
    )


def make_parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    parser = argparse.ArgumentParser(
        prog="faultwatch", description=import_module("pipelines").__doc__
    )
    commands = parser.add_subparsers(required=True, metavar="VERB")

    demo = commands.add_parser("demo", help="the whole chain on the bundled plant, offline")
    demo.add_argument("--data", type=Path, help="another folder of the demo plant's data")
    demo.set_defaults(run=verbs.do_demo)

    init = commands.add_parser("init", help="write an asset file for files or a query")
    init.add_argument("data", metavar="DATA", nargs="*", help="files, folders or quoted globs")
    init.add_argument("--sql", metavar="QUERY", help="instead: a query of FAULTWATCH_DATABASE")
    init.add_argument("--time", metavar="COL", help="time column; default: found")
    init.add_argument("--id", metavar="ID", help="name of the asset; default: from the data")
    init.add_argument("--out", metavar="FILE", type=Path, help="asset file; default: ID.toml")
    init.set_defaults(run=verbs.do_init)

    _add_backtest(commands)
    _add_benchmark(commands)
    for name, run, words in (
        ("ingest", verbs.do_ingest, "read what is new in an asset's files or database"),
        ("quarantine", verbs.do_quarantine, "rows that could not be used, and values that lost"),
        ("train", verbs.do_train, "train a challenger and register it"),
        ("retrain", verbs.do_retrain, "take in what is new, train, promote what is better"),
        ("monitor", verbs.do_monitor, "look whether the champion still fits the machine"),
        ("evaluate", verbs.do_evaluate, "replay a registered bundle over the held-out history"),
        ("promote", verbs.do_promote, "make a registered bundle the champion"),
        ("roll-back", verbs.do_roll_back, "make the previous champion the champion again"),
        ("sign", verbs.do_sign, "sign and promote what a retraining may not, with the release key"),
        ("champions", verbs.do_champions, "what was champion, since when, by whom and why"),
        ("release", verbs.do_release, "write the champion's bundle for devices"),
        ("schedule", verbs.do_schedule, "add an asset to what `up` runs, or take it off"),
        ("label", verbs.do_label, "say what a stretch of time was"),
        ("labels", verbs.do_labels, "list what people said"),
        ("alarms", verbs.do_alarms, "list the alarms that `collect` has heard of, newest first"),
        ("quality", verbs.do_quality, "what to know of an asset's samples before trusting them"),
    ):
        verb = commands.add_parser(name, help=words)
        verb.add_argument("asset", metavar="ASSET", help="asset file, or id of a shipped asset")
        verb.set_defaults(run=run)
        _add_options(verb, name)

    _add_fleet(commands)
    _add_services(commands)
    keys = commands.add_parser("keys", help="make the key pair that signs bundles")
    keys.add_argument("--out", type=Path, help="folder; default: where trainings look for it")
    keys.set_defaults(run=verbs.do_keys)
    return parser


def _add_fleet(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    fleet = commands.add_parser(
        "fleet",
        help="train all assets of a site that have something new, several at once",
        description="Train all assets that have something new, several at once. One that fails "
        "stops no other; called again, it goes on with what is missing. FAULTWATCH_ENGINE says "
        "where: on the cores of this machine, or in a Ray cluster.",
    )
    fleet.add_argument(
        "places",
        metavar="ASSET_OR_FOLDER",
        nargs="+",
        help="asset files, shipped ids, or folders of asset files",
    )
    fleet.set_defaults(run=verbs.do_fleet)


def _add_services(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Verbs that run until they are stopped."""
    collect = commands.add_parser(
        "collect", help="keep what devices publish by MQTT, until it is stopped"
    )
    collect.add_argument("assets", metavar="ASSET", nargs="+", help="asset files, or shipped ids")
    collect.set_defaults(run=verbs.do_collect)

    up = commands.add_parser("up", help="MLflow, Prefect server, worker and schedules on localhost")
    up.add_argument(
        "assets", metavar="ASSET", nargs="*", help="asset files, or shipped ids; default: as before"
    )
    up.add_argument(
        "--cron", help="schedule of the retrainings; default: each asset's [retrain] cron"
    )
    up.set_defaults(run=verbs.do_up)


def _add_backtest(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = commands.add_parser(
        "backtest", help="learn from one file, score another; no configuration"
    )
    verb.add_argument("train", metavar="TRAIN", type=Path, nargs="?", help="normal running")
    verb.add_argument("test", metavar="TEST", type=Path, nargs="?", help="what is scored")
    verb.add_argument(
        "--pairs", type=Path, metavar="CSV", help="many: series,train,test,train_rows"
    )
    verb.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the report"
    )
    verb.add_argument("--train-rows", type=_count, metavar="N", help="only the first N rows teach")
    verb.add_argument("--time", metavar="COL", help="time column; default: found, or none")
    verb.add_argument("--sample-period-s", type=_positive, metavar="S", help="default: found, or 1")
    verb.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="COL",
        help="a column that is no sensor, such as a label",
    )
    verb.add_argument(
        "--far",
        type=_share,
        metavar="SHARE",
        help="share of normal rows that may be anomalous; default: a budget of alarms a day",
    )
    verb.add_argument(
        "--reconstructor", default="vae", choices=("vae", "window_pca", "pca"), help="default: vae"
    )
    verb.add_argument("--labels", type=Path, metavar="CSV", help="intervals to judge by")
    verb.set_defaults(run=verbs.do_backtest)


def _add_benchmark(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    benchmark = commands.add_parser(
        "benchmark", help="a public data set, the VAE beside its rivals"
    )
    benchmark.add_argument(
        "name", choices=("tep", "skab", "plant"), help="which data set; plant: simulated anew"
    )
    benchmark.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="its folder, of plant one or more; default of tep: the bundled plant",
    )
    benchmark.add_argument(
        "--seeds", type=_count, default=1, metavar="N", help="repetitions (default: 1)"
    )
    benchmark.add_argument(
        "--out", type=Path, metavar="FILE", help="results as JSON; plant goes on with them"
    )
    benchmark.set_defaults(run=verbs.do_benchmark)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _share(text: str) -> float:
    share = _positive(text)
    if share >= 1:
        raise argparse.ArgumentTypeError(f"{text} is not below 1; 0.01 is one row of a hundred")
    return share


def _add_options(verb: argparse.ArgumentParser, name: str) -> None:
    """Options that only some verbs have."""
    if name in {"promote", "roll-back", "evaluate"}:
        _add_decisions(verb, name)
    if name in {"label", "train"}:
        _add_sayings(verb, name)
    if name == "ingest":
        verb.add_argument(
            "--accept",
            action="append",
            default=[],
            metavar="CHANNEL",
            help="a channel that is new, gone or of another unit, and may be",
        )
        verb.add_argument("--anew", action="store_true", help="forget what was read, begin again")
    if name in {"retrain", "schedule"}:
        _add_retraining(verb, name)
    if name in {"alarms", "champions", "labels", "quality", "quarantine"}:
        verb.add_argument("--json", action="store_true", help="for machines")
    if name == "quality":
        verb.add_argument("--from", dest="start", metavar="TIME", help="2026-05-01T08:00:00Z")
        verb.add_argument("--to", dest="end", metavar="TIME", help="the first instant after it")
    if name == "release":
        verb.add_argument("--version", default="champion", help="version or alias")
        verb.add_argument("--out", type=Path, default=Path("release"), help="folder for the bundle")


def _add_decisions(verb: argparse.ArgumentParser, name: str) -> None:
    """Options of what a person decides."""
    if name != "evaluate":
        verb.add_argument("--by", default=getpass.getuser(), help="who decides")
        verb.add_argument("--reason", required=True, help="why")
        verb.add_argument(
            "--canary",
            dest="alias",
            action="store_const",
            const="canary",
            default="champion",
            help="only on the devices that follow the alias canary",
        )
    if name != "roll-back":
        verb.add_argument("--version", default="challenger", help="version or alias")


def _add_retraining(verb: argparse.ArgumentParser, name: str) -> None:
    """Options of what retrains."""
    if name == "retrain":
        verb.add_argument("--reason", default="by hand", help="why now; kept with the run")
        return
    verb.add_argument("--cron", help="of its retrainings, UTC; default: its [retrain] cron")
    verb.add_argument("--off", action="store_true", help="take it off")


def _add_sayings(verb: argparse.ArgumentParser, name: str) -> None:
    """Options by which a person says what history was."""
    if name == "train":
        since = "nothing earlier teaches, in later trainings neither: 2026-05-01, after a repair"
        verb.add_argument("--since", metavar="TIME", help=since)
    else:
        verb.add_argument("start", metavar="FROM", help="such as 2026-05-01T08:00:00Z")
        verb.add_argument("end", metavar="TO", help="the first instant after it")
        verdicts = ("true_fault", "nuisance", "maintenance")
        verb.add_argument("--verdict", required=True, choices=verdicts)
        verb.add_argument("--note", default="", help="what people should read")
    verb.add_argument("--by", default=getpass.getuser(), help="who says so")


if __name__ == "__main__":
    sys.exit(main())
