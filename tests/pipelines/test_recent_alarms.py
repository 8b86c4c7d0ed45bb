"""Alarms of the last days: which ones overlap, and how they are told to people."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.recent_alarms import (
    CHALLENGER,
    CHAMPION,
    Overlap,
    RaisedAlarm,
    RecentAlarms,
    find_overlaps,
)

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BOTH = (CHALLENGER, CHAMPION)


def at(hour: float) -> datetime:
    return BEGIN + timedelta(hours=hour)


def alarm(who: str, onset: float, end: float | None) -> RaisedAlarm:
    """Raised half an hour after its onset."""
    ended_at = None if end is None else at(end)
    return RaisedAlarm(who, at(onset), at(onset + 0.5), ended_at, ("flow", "level"))


def recent(*overlaps: Overlap, bundles: tuple[str, ...] = BOTH, days: float = 90) -> RecentAlarms:
    return RecentAlarms(BEGIN, BEGIN + timedelta(days=days), bundles, overlaps)


def test_alarms_that_overlap_are_one_whoever_raised_them_and_however_often() -> None:
    raised = [
        alarm(CHALLENGER, 1, 9),
        alarm(CHAMPION, 2, 3),
        alarm(CHAMPION, 5, 10),
        alarm(CHAMPION, 11, 12),
        alarm(CHALLENGER, 13, 14),
    ]
    overlaps = find_overlaps(reversed(raised))
    assert [(len(one.alarms), one.raised_by) for one in overlaps] == [
        (3, "both"),
        (1, CHAMPION),
        (1, CHALLENGER),
    ]
    assert (overlaps[0].start, overlaps[0].end) == (at(1), at(10))


def test_an_alarm_that_stands_overlaps_all_that_come_later() -> None:
    (overlap,) = find_overlaps([alarm(CHAMPION, 1, None), alarm(CHALLENGER, 5, 6)])
    assert (overlap.raised_by, overlap.end) == ("both", None)


def test_the_sentence_counts_what_is_the_same_what_is_new_and_what_is_gone() -> None:
    alarms = [alarm(CHAMPION, 1, 2), alarm(CHALLENGER, 1, 2), alarm(CHAMPION, 5, 6)]
    said = recent(*find_overlaps([*alarms, alarm(CHAMPION, 8, 9)])).sentence()
    assert said == (
        "In the last 90 days the champion raised 3 alarms, this one 1: 1 the same, 0 new, "
        "2 no longer."
    )


def test_the_sentence_says_how_many_were_learned_from_and_that_the_gate_does_not_count_them() -> None:
    (overlap,) = find_overlaps([alarm(CHALLENGER, 1, 2)])
    seen = Overlap(overlap.alarms, taught=True)
    said = recent(seen, overlap, days=7.25).sentence()
    assert said.startswith("In the last 7.2 days the champion raised 0 alarms, this one 2: ")
    assert said.endswith(
        "1 of them lies in days that taught this one and are not unseen: the gate goes by later "
        "days alone."
    )


@pytest.mark.parametrize(("count", "told"), [(0, "0 alarms"), (1, "1 alarm"), (2, "2 alarms")])
def test_without_champion_the_challenger_is_told_alone(count: int, told: str) -> None:
    alarms = [alarm(CHALLENGER, 10 * place, 10 * place + 1) for place in range(count)]
    said = recent(*find_overlaps(alarms), bundles=(CHALLENGER,)).sentence()
    assert said == f"In the last 90 days this one would have raised {told}."


def test_the_table_says_of_each_alarm_when_by_whom_and_what_people_said() -> None:
    (overlap,) = find_overlaps([alarm(CHALLENGER, 1, 9), alarm(CHAMPION, 2, None)])
    (later,) = find_overlaps([alarm(CHAMPION, 20, 21)])
    labelled = Overlap(overlap.alarms, labelled="true fault", taught=True)
    table = recent(labelled, later).table()
    assert table.row(0, named=True) == {
        "start": at(1),
        "end": None,
        "raised by": "both",
        "raised by this one at": at(1.5),
        "raised by the champion at": at(2.5),
        "first channels": "flow, level",
        "labelled": "true fault",
        "taught this one": "yes: not unseen",
    }
    last = table.row(1, named=True)
    assert (last["raised by this one at"], last["end"]) == (None, at(21))
    assert (last["labelled"], last["taught this one"]) == ("not labelled", "no")
