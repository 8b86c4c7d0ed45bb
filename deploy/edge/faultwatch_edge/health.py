"""How the agent is, as it says itself."""

from collections.abc import Mapping, Sequence

from faultwatch_edge import __version__
from faultwatch_edge.message import SCHEMA
from faultwatch_edge.spool import Spool
from faultwatch_edge.times import to_iso
from faultwatch_edge.watched import Watched


def health(
    name: str, assets: Sequence[Watched], *, spool: Spool, at_us: int
) -> Mapping[str, object]:
    """The message: what waits, and of each asset what came and what was made of it.

    Args:
        name: of the agent.
        assets: what it watches.
        spool: where records wait.
        at_us: now.
    """
    return {
        "schema": SCHEMA,
        "kind": "health",
        "agent": name,
        "version": __version__,
        "online": True,
        "at": to_iso(at_us),
        "waiting": {**spool.count(), "scores_dropped": spool.dropped},
        "assets": [_of(one) for one in assets],
    }


def _of(one: Watched) -> dict[str, object]:
    counts, last_us = one.agent.counts, one.last_sample_us
    return {
        "asset": one.asset,
        "model_version": one.bundle.manifest.version,
        "bundle_sha256": one.bundle.sha256,
        "last_sample_at": None if last_us is None else to_iso(last_us),
        "samples": counts.samples,
        "late": counts.late,
        "rejected": counts.rejected,
        "bad_quality": one.bad_quality,
        "windows_scored": counts.windows_scored,
        "windows_not_scored": counts.windows_not_scored,
        "alarms_raised": counts.alarms_raised,
    }
