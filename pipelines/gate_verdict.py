"""What the promotion gate said of a version, kept where people and the next run find it."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from pipelines.registry import RegisteredVersion, Registry, stamp
from pipelines.tracking import NOTE_TAG

GATE_TAG = "gate"


@dataclass(frozen=True)
class Verdict:
    """What the promotion gate said of a version."""

    outcome: str
    reason: str
    at: datetime
    beside: int | None
    """The champion at that time; None = there was none."""


def note_verdict(
    registry: Registry, version: RegisteredVersion, verdict: Verdict, note: str
) -> None:
    """Keep what was said: on the page of the training's run, then with the version.

    Args:
        registry: of the asset.
        version: that was judged.
        verdict: what was said.
        note: Markdown that goes above the note of the training.
    """
    run_id = str(version.run_id)
    before = registry.client.get_run(run_id).data.tags.get(NOTE_TAG, "")
    if not before.startswith(note):
        registry.client.set_tag(run_id, NOTE_TAG, f"{note}\n\n---\n\n{before}")
    registry.client.set_tag(run_id, GATE_TAG, verdict.outcome)
    keep_verdict(registry, version, verdict, GATE_TAG)


def keep_verdict(
    registry: Registry, version: RegisteredVersion, verdict: Verdict, tag: str
) -> None:
    """Keep what was said with the version alone.

    Args:
        registry: of the asset.
        version: that was judged.
        verdict: what was said.
        tag: `GATE_TAG`, or `RELEASED_GATE_TAG` for the word of who signs.
    """
    said = asdict(verdict) | {"at": stamp(verdict.at)}
    text = json.dumps(said, ensure_ascii=False)
    registry.client.set_model_version_tag(registry.asset_id, version.version, tag, text)


def verdict_of(version: RegisteredVersion, tag: str = GATE_TAG) -> Verdict | None:
    """What was said of a version; None = the gate was not asked."""
    said = version.tags.get(tag)
    if said is None:
        return None
    found = json.loads(said)
    at = datetime.fromisoformat(found["at"])
    return Verdict(found["outcome"], found["reason"], at, found["beside"])
