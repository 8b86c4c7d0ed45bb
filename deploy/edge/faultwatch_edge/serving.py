"""Puts a configuration together to a service that runs: bundles, spool, connection."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from faultwatch_edge.bundle import read_bundle
from faultwatch_edge.config import EdgeConfig, spool_file
from faultwatch_edge.errors import ConfigError
from faultwatch_edge.mqtt import Connection
from faultwatch_edge.renewal import Renewal, newest_bundle
from faultwatch_edge.service import Service, filters, last_will
from faultwatch_edge.spool import Spool
from faultwatch_edge.stopping import Stop
from faultwatch_edge.watchdog import Watchdog
from faultwatch_edge.watched import Watched
from faultwatch_edge.web import OperatorPage

PASSWORD_VARIABLE: Final = "FAULTWATCH_EDGE_MQTT_PASSWORD"  # noqa: S105 - the variable's name


def serve(
    config: EdgeConfig,
    keys: Sequence[Ed25519PublicKey],
    stop: Stop,
    note: Callable[[str], None],
) -> None:
    """Watch all assets until a stop is requested.

    Args:
        config: from ``read_config``.
        keys: trusted signers.
        stop: says when to end.
        note: takes a sentence for whoever looks at the log.

    Raises:
        EdgeError: something of the configuration cannot be used; nothing has been taken then.
    """
    with ExitStack() as stack:
        file = spool_file(config)
        stack.enter_context(_alone(file.with_suffix(".lock")))
        spool = stack.enter_context(Spool(file))
        assets, renewals = _watched(config, keys, spool, note)
        connection = stack.enter_context(
            Connection(
                config.mqtt,
                password=os.environ.get(PASSWORD_VARIABLE),
                filters=filters(config.mqtt, list(assets.values())),
                will=last_will(config.mqtt),
                note=note,
            )
        )
        service = Service(
            assets,
            renewals=renewals,
            spool=spool,
            connection=connection,
            config=config.mqtt,
            clock_us=now_us,
            passed_us=passed_us,
            note=note,
        )
        if config.page is not None:
            page = OperatorPage(
                config.page.port,
                state=lambda: service.view,
                metrics=lambda: service.metrics,
                assets=frozenset(assets),
                leave=lambda asset, body: _leave(file, asset, body),
            )
            stack.enter_context(page)
            note(f"the operator's page is at http://localhost:{page.port}")
        note(f"watches {', '.join(assets)}")
        watchdog = stack.enter_context(Watchdog())
        while not stop.is_requested:
            service.step()
            watchdog.alive(passed_us())


def _leave(file: Path, asset: str, body: str) -> None:
    """Leave an order for the service, as the command line does."""
    with Spool(file) as spool:
        spool.order(asset, body)


def now_us() -> int:
    """Microseconds since the epoch by this device's clock."""
    return time.time_ns() // 1_000


def passed_us() -> int:
    """Microseconds since some time, by a clock that nobody sets."""
    return time.monotonic_ns() // 1_000


def _watched(
    config: EdgeConfig,
    keys: Sequence[Ed25519PublicKey],
    spool: Spool,
    note: Callable[[str], None],
) -> tuple[dict[str, Watched], dict[str, Renewal]]:
    assets: dict[str, Watched] = {}
    renewals: dict[str, Renewal] = {}
    for source in config.asset:
        place = Path(source.bundle)
        bundle = read_bundle(_newest(place) if place.is_dir() else place, trusted_keys=keys)
        watched = Watched(bundle, source, publish_scores=config.agent.publish_scores)
        if watched.asset in assets:
            raise ConfigError(
                f"two bundles are of asset '{watched.asset}', expected one [[asset]] for each"
            )
        kept = spool.state(watched.asset)
        if kept is not None:
            watched.resume(kept, note)
        assets[watched.asset] = watched
        if place.is_dir():
            renewals[watched.asset] = Renewal(place, keys, note)
    return assets, renewals


def _newest(folder: Path) -> Path:
    found = newest_bundle(folder)
    if found is None:
        raise ConfigError(f"{folder}: holds no bundle, expected ASSET-VERSION.fwb")
    return found[0]


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold a lock that no other agent may hold; it ends with the process."""
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"'{file.parent}' is used by another agent, expected a folder for each; stop the "
                "other one, or set agent.folder"
            ) from error
        yield
