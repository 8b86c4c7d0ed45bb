"""Retrains in a new process for each line that it reads, which stops where the line says.

Imports once, and forks before any library has threads. What is fitted and exported, half a minute's
work, is kept after the first training: later ones sign it anew, as their own.
"""

import logging
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from faultwatch_edge.bundle import read_bundle, write_bundle
from faultwatch_edge.keys import key_id
from pipelines.candidate import Candidate, Origin
from pipelines.config import load_asset
from pipelines.historian import Historian
from pipelines.ingest import ingest_asset
from pipelines.processes import BusyError
from pipelines.retrain import retrain_asset
from pipelines.settings import Settings
from pipelines.tracking import AwayError

Function = Callable[..., Any]


def wrap(target: str, wrapper: Callable[[Function], Function]) -> None:
    """Put something around a function, wherever it is called by that name."""
    owner, _, name = target.rpartition(".")
    original = getattr(resolve_name(owner), name)
    setattr(resolve_name(owner), name, wrapper(original))


def stop_before(target: str, word: str) -> None:
    """Have this process stop, as by Ctrl-Z, before a function is first called with a word."""

    def stopping(original: Function) -> Function:
        def stop_once(*arguments: Any, **named: Any) -> Any:
            if word in repr((arguments, named)):
                wrap(target, lambda _: original)
                os.kill(os.getpid(), signal.SIGSTOP)
            return original(*arguments, **named)

        return stop_once

    wrap(target, stopping)


def sign_anew(known: Candidate, asset_id: str, origin: Origin, folder: Path, key: Any) -> Candidate:
    """What was fitted before, in a bundle of another version and run."""
    manifest = replace(
        known.bundle.manifest,
        version=origin.version,
        mlflow_run=origin.mlflow_run,
        key_id=key_id(key.public_key()),
    )
    folder.mkdir(parents=True)
    path = folder / f"{asset_id}-{origin.version}.fwb"
    write_bundle(
        path,
        manifest=manifest,
        onnx=known.bundle.onnx,
        golden=known.bundle.golden,
        private_key=key,
    )
    bundle = read_bundle(path, trusted_keys=[key.public_key()])
    return replace(known, bundle=bundle, path=path)


def fit_once(kept_in: Path) -> None:
    """Keep what is fitted and exported."""

    def keeping(make: Function) -> Function:
        def make_or_sign(asset: Any, name: str, **options: Any) -> Candidate:
            kept = kept_in / f"{name}.pickle"
            if kept.exists():
                known: Candidate = pickle.loads(kept.read_bytes())  # noqa: S301 - our own
                signed = (options[part] for part in ("origin", "folder", "private_key"))
                return sign_anew(known, asset.asset.id, *signed)
            made: Candidate = make(asset, name, **options)
            kept.write_bytes(pickle.dumps(made))
            return made

        return make_or_sign

    wrap("pipelines.train.make_candidate", keeping)


def take_in_and_retrain(asset_file: str) -> int:
    """As the flow, without a Prefect server; 0 = done, 2 = a sentence says why not."""
    asset, settings = load_asset(asset_file), Settings()
    try:
        historian = Historian(settings.historian_address, asset.asset.id, asset.channel)
        ingest_asset(asset, historian)
        came = retrain_asset(
            asset, settings, clock=lambda: datetime.now(UTC), reason="test", say=lambda _: None
        )
    except (AwayError, BusyError) as error:
        tell(f"{type(error).__name__}: {error}")
        return 2
    tell(str(came))
    return 0


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run_job(asset_file: str, log: str, *, target: str, word: str, retries: str) -> int:
    """Retrain, with all that is said in a file."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = retries
    with Path(log).open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:
        fit_once(Path(asset_file).parent)
        if target:
            stop_before(target, word)
        return take_in_and_retrain(asset_file)
    except BaseException:
        logging.getLogger("job").exception("it failed")
        return 1


def state_of(process: int) -> str:
    """Wait until a child stops or ends."""
    status = os.waitpid(process, os.WUNTRACED)[1]
    return "stopped" if os.WIFSTOPPED(status) else str(os.waitstatus_to_exitcode(status))


def serve() -> None:
    """``start`` ...: process id; ``wait`` ID: ``stopped``, or how it ended."""
    warnings.filterwarnings("ignore", "Using fork")
    warnings.filterwarnings("ignore", "This process .* is multi-threaded")
    tell("ready")
    for line in sys.stdin:
        verb, *words = line.rstrip("\n").split("\t")
        if verb == "wait":
            tell(state_of(int(words[0])))
            continue
        asset_file, log, target, word, retries = words
        child = os.fork()
        if not child:
            os._exit(run_job(asset_file, log, target=target, word=word, retries=retries))
        tell(str(child))


if __name__ == "__main__":
    serve()
