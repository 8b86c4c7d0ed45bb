"""What the journal says of alarms, for people and machines."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.alarms import SHOWN, list_alarms, print_alarms
from pipelines.cli import main
from pipelines.journal import TOLD_SCHEMA, Journal

START = datetime(2026, 1, 1, tzinfo=UTC)
ASSET = """
[asset]
id = "pump_07"
[source]
files = "*.csv"
[window]
sample_period_s = 1.0
[[channel]]
name = "flow"
"""


def life(number: int, *steps: tuple[str, str | None]) -> list[dict[str, Any]]:
    """Transitions of one alarm: states, and who ordered them."""
    rows, previous = [], "normal"
    for sequence, (state, by) in enumerate(steps, start=1):
        rows.append(
            {
                "time": START + timedelta(hours=number, seconds=sequence),
                "alarm_id": f"alarm-{number}",
                "sequence": sequence,
                "state": state,
                "previous_state": previous,
                "onset_at": START + timedelta(hours=number),
                "contributors": "[]",
                "message": f"step {sequence}",
                "by": by,
                "shadow": False,
            }
        )
        previous = state
    return rows


def listed(*rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    every = [row for one in rows for row in one]
    return list_alarms(pl.DataFrame(every, schema=pl.Schema(TOLD_SCHEMA))).to_dicts()


def test_each_alarm_is_what_it_became_last_and_the_newest_is_first() -> None:
    found = listed(
        life(0, ("unacknowledged", None), ("rtn_unacknowledged", None)),
        life(1, ("unacknowledged", None)),
    )
    assert [(one["alarm_id"], one["state"], one["message"]) for one in found] == [
        ("alarm-1", "unacknowledged", "step 1"),
        ("alarm-0", "rtn_unacknowledged", "step 2"),
    ]


@pytest.mark.parametrize(
    ("steps", "by"),
    [
        ([("unacknowledged", None), ("acknowledged", "Kim"), ("normal", None)], "Kim"),
        ([("unacknowledged", None), ("rtn_unacknowledged", None), ("normal", "Robin")], "Robin"),
        ([("unacknowledged", None), ("acknowledged", "Kim"), ("unacknowledged", None)], None),
        ([("unacknowledged", None), ("shelved", "Kim"), ("normal", "Kim")], None),
    ],
)
def test_who_acknowledged_is_told_while_it_holds(
    steps: list[tuple[str, str | None]], by: str | None
) -> None:
    (alarm,) = listed(life(0, *steps))
    assert alarm["acknowledged_by"] == by
    assert (alarm["acknowledged_at"] is None) == (by is None)


def test_people_see_the_newest_and_how_many_more(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for number in range(SHOWN + 3) for row in life(number, ("unacknowledged", None))]
    rows[-1] |= {"shadow": True, "reason": "new seal"}
    print_alarms(list_alarms(pl.DataFrame(rows, schema=pl.Schema(TOLD_SCHEMA))))
    text = capsys.readouterr().out
    assert "2026-01-01T22:00:00Z" in text
    assert "unacknowledged (shadow)" in text
    assert "step 1 - new seal" in text
    assert "2026-01-01T02:00:00Z" not in text
    assert "and 3 more; --json gives all" in text


def test_the_verb_gives_all_that_is_known_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAULTWATCH_HOME", str(tmp_path))
    (tmp_path / "pump_07.toml").write_text(ASSET)
    assert main(["alarms", str(tmp_path / "pump_07.toml")]) == 0
    assert capsys.readouterr().out == "No alarm has been collected.\n"
    journal = Journal(str(tmp_path / "historian"), "pump_07")
    journal.alarms.add(life(0, ("unacknowledged", None), ("acknowledged", "Kim")))
    assert main(["alarms", str(tmp_path / "pump_07.toml"), "--json"]) == 0
    (alarm,) = json.loads(capsys.readouterr().out)
    assert (alarm["acknowledged_by"], alarm["contributors"]) == ("Kim", [])
    assert alarm["acknowledged_at"] == "2026-01-01T00:00:02Z"
