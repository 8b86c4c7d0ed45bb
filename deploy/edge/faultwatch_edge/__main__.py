"""Scores a machine's samples with a signed bundle: ``faultwatch-edge run``, ``serve``, ``check``.

Exit codes: 0 the input ended or the run was stopped; 2 something was refused, and one sentence on
standard error says why and what to do.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from faultwatch_edge import __version__
from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import read_bundle
from faultwatch_edge.config import read_config, spool_file
from faultwatch_edge.describe import describe, summarise
from faultwatch_edge.detector import Detector, check_golden
from faultwatch_edge.errors import ConfigError, EdgeError, SinkError, SourceError, TrustError
from faultwatch_edge.keys import load_trusted_keys
from faultwatch_edge.message import Message
from faultwatch_edge.orders import Verb, read_order
from faultwatch_edge.score_row import score_record
from faultwatch_edge.sinks.json_lines import STANDARD_OUTPUT, JsonLines
from faultwatch_edge.sources.csv_lines import Rejected, Sample, read_lines, read_samples
from faultwatch_edge.spool import Spool
from faultwatch_edge.stopping import Stop
from faultwatch_edge.times import to_iso

PROGRAM = "faultwatch-edge"
KEY_VARIABLE = "FAULTWATCH_EDGE_KEY"
STANDARD_INPUT = "-"
REFUSED = 2
_EXTRAS = {"paho": "mqtt", "asyncua": "opcua"}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, do, and put whatever is refused into one sentence."""
    arguments = _parser().parse_args(argv)
    try:
        return _VERBS[arguments.verb](arguments)
    except BrokenPipeError:
        _discard_output()
        return 0
    except (EdgeError, OSError) as error:
        _note(str(error))
        if isinstance(error, SinkError | OSError):
            _discard_output()
        return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__.partition("\n")[0])
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser("check", help="check a bundle as 'run' does, and say what is in it")
    run = verbs.add_parser("run", help="score samples; say what is anomalous, raise alarms")
    for verb in (check, run):
        verb.add_argument("bundle", type=Path, metavar="BUNDLE", help="file ASSET-VERSION.fwb")
        verb.add_argument(
            "--key",
            type=Path,
            action="append",
            metavar="FILE",
            help=f"trusted public key or folder of *.pub; repeatable (else {KEY_VARIABLE}, else "
            "~/.config/faultwatch/trusted and /etc/faultwatch/trusted)",
        )
    run.add_argument(
        "--source", required=True, metavar="FILE|-", help="wide CSV; - is standard input"
    )
    run.add_argument(
        "--out",
        default=STANDARD_OUTPUT,
        metavar="FILE|-",
        help="messages as JSON lines, appended; - is standard output (default)",
    )
    run.add_argument("--scores", metavar="FILE", help="a JSON line for each window, appended")
    run.add_argument("--time", default="time", metavar="COL", help="time column (default: time)")
    run.add_argument("--utc", action="store_true", help="times without an offset are UTC")
    run.add_argument(
        "--batch",
        type=_positive,
        default=1,
        metavar="N",
        help="windows scored together when a file is replayed (default 1: each as it ends)",
    )
    _add_service(verbs)
    return parser


def _add_service(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = verbs.add_parser(
        "serve", help="watch assets live by MQTT or OPC UA until it is stopped"
    )
    order = verbs.add_parser("order", help="tell an alarm of the agent that runs what to do")
    for verb in (serve, order):
        verb.add_argument("config", type=Path, metavar="CONFIG", help="edge.toml")
    order.add_argument("asset", metavar="ASSET", help="whose alarm")
    order.add_argument(
        "what", choices=get_args(Verb), metavar="VERB", help=", ".join(get_args(Verb))
    )
    order.add_argument("--by", required=True, metavar="NAME", help="who says so")
    order.add_argument("--reason", default="", metavar="TEXT", help="why")
    order.add_argument("--for", dest="for_s", type=float, metavar="SECONDS", help="how long")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def _check(arguments: argparse.Namespace) -> int:
    keys = _trusted_keys(arguments.key)
    bundle = read_bundle(arguments.bundle, trusted_keys=keys)
    check_golden(Detector.from_bundle(bundle), bundle)
    sys.stdout.write("".join(f"{line}\n" for line in describe(bundle)))
    sys.stdout.flush()
    return 0


def _run(arguments: argparse.Namespace) -> int:
    bundle = read_bundle(arguments.bundle, trusted_keys=_trusted_keys(arguments.key))
    manifest = bundle.manifest
    is_live = arguments.source == STANDARD_INPUT
    with ExitStack() as stack:
        stop = stack.enter_context(Stop())
        out = stack.enter_context(JsonLines(arguments.out))
        scores = stack.enter_context(JsonLines(arguments.scores)) if arguments.scores else None
        agent = Agent(
            bundle,
            batch=1 if is_live else arguments.batch,
            is_historical=not is_live,
            on_score=None if scores is None else lambda row: scores.write(score_record(row)),
        )
        check_golden(agent.detector, bundle)
        stream = stack.enter_context(_opened(arguments.source))
        rows = read_samples(
            stop.guard(read_lines(stream)),
            manifest.channels,
            min_channels=manifest.window.min_channels,
            time_column=arguments.time,
            is_utc=arguments.utc,
            note=_note,
        )
        try:
            _feed(agent, rows, out, stop, arguments.source)
        finally:
            _note(summarise(agent.counts, manifest.asset_id))
    return 0


def _feed(
    agent: Agent, rows: Iterable[Sample | Rejected], out: JsonLines, stop: Stop, source: str
) -> None:
    try:
        for row in rows:
            _write(out, _messages(agent, row))
    except SourceError as error:
        if not stop.is_requested:
            raise SourceError(f"{source}: {error}") from error
    finally:
        _write(out, agent.finish())


def _messages(agent: Agent, row: Sample | Rejected) -> list[Message]:
    number, raw = row.line.number, row.line.text
    if isinstance(row, Rejected):
        return agent.reject(row.reason, line=number, raw=raw)
    return agent.process(row.time_us, row.values, line=number, raw=raw)


def _write(out: JsonLines, messages: Sequence[Message]) -> None:
    for message in messages:
        out.write(message)


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    if source == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        stream = Path(source).open("rb")  # noqa: SIM115 - entered below, outside the try
    except OSError as error:
        raise SourceError(
            f"{source}: cannot be read ({error.strerror}), expected a CSV file or -"
        ) from error
    with stream:
        yield stream


def _serve(arguments: argparse.Namespace) -> int:
    from faultwatch_edge.serving import serve  # noqa: PLC0415 - the other verbs are quicker without

    config = read_config(arguments.config)
    places = [Path(one) for one in config.agent.keys]
    _trusted_keys(places)
    note = partial(_note_json, config.name) if config.agent.log == "json" else _note
    try:
        with Stop() as stop:
            serve(config, lambda: _trusted_keys(places), stop, note)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(str(error.name).partition(".")[0])
        if extra is None:
            raise
        raise ConfigError(
            f"'serve' needs {error.name}, which is not installed; install faultwatch-edge[{extra}]"
        ) from error
    return 0


def _order(arguments: argparse.Namespace) -> int:
    order = {"verb": arguments.what, "by": arguments.by, "reason": arguments.reason}
    body = json.dumps(order | {"for_s": arguments.for_s})
    read_order(body.encode())
    with Spool(spool_file(read_config(arguments.config))) as spool:
        if spool.state(arguments.asset) is None:
            raise ConfigError(
                f"the agent of {arguments.config} watches no '{arguments.asset}', expected the id "
                "of an asset that has sent samples"
            )
        spool.order(arguments.asset, body)
    return 0


def _trusted_keys(given: Sequence[Path] | None) -> tuple[Ed25519PublicKey, ...]:
    """The keys of the command line, else of the environment, else of the usual folders."""
    from_environment = os.environ.get(KEY_VARIABLE, "")
    if given:
        return load_trusted_keys(given)
    if from_environment:
        return load_trusted_keys(Path(path) for path in from_environment.split(os.pathsep) if path)
    folders = [Path.home() / ".config/faultwatch/trusted", Path("/etc/faultwatch/trusted")]
    files = [path for folder in folders for path in sorted(folder.glob("*.pub"))]
    if not files:
        raise TrustError(
            f"no trusted key, expected one by --key FILE, in {KEY_VARIABLE}, or as *.pub in "
            f"{' or '.join(map(str, folders))}; copy faultwatch.pub from whoever releases"
        )
    return load_trusted_keys(files)


def _note(sentence: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads it, or the disk of the log is full
        sys.stderr.write(f"{PROGRAM}: {sentence}\n")
        sys.stderr.flush()


def _note_json(agent: str, sentence: str) -> None:
    at = to_iso(time.time_ns() // 1_000)
    line = json.dumps({"at": at, "agent": agent, "version": __version__, "message": sentence})
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _discard_output() -> None:
    """Standard output takes no more: keep the interpreter from trying at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_VERBS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "check": _check,
    "serve": _serve,
    "order": _order,
}

if __name__ == "__main__":
    sys.exit(main())
