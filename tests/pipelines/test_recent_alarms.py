"""Alarms of the last days: which ones are the same, and how they are told to people."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.recent_alarms import (
    CHALLENGER,
    CHAMPION,
    AlarmGroup,
    RaisedAlarm,
    RecentAlarms,
    group_alarms,
)

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BOTH = (CHALLENGER, CHAMPION)


def at(hour: float) -> datetime:
    return BEGIN + timedelta(hours=hour)


def alarm(who: str, onset: float, end: float | None) -> RaisedAlarm:
    """Raised half an hour after its onset."""
    ended_at = None if end is None else at(end)
    return RaisedAlarm(who, at(onset), at(onset + 0.5), ended_at, ("flow", "level"))


def recent(*groups: AlarmGroup, bundles: tuple[str, ...] = BOTH, days: float = 90) -> RecentAlarms:
    return RecentAlarms(BEGIN, BEGIN + timedelta(days=days), bundles, groups)


def grouped(*raised: RaisedAlarm) -> list[AlarmGroup]:
    return group_alarms(raised, until=at(100))


def test_alarms_of_about_the_same_time_are_the_same_however_often_they_were_raised() -> None:
    raised = [
        alarm(CHALLENGER, 1, 9),
        alarm(CHAMPION, 2, 3),
        alarm(CHAMPION, 5, 10),
        alarm(CHAMPION, 11, 12),
        alarm(CHALLENGER, 13, 14),
    ]
    groups = grouped(*reversed(raised))
    assert [(len(one.alarms), one.raised_by) for one in groups] == [
        (3, "both"),
        (1, CHAMPION),
        (1, CHALLENGER),
    ]
    assert (groups[0].start, groups[0].end) == (at(1), at(10))


def test_one_that_stands_for_days_does_not_thereby_find_what_the_other_finds_in_them() -> None:
    groups = grouped(alarm(CHAMPION, 1, None), alarm(CHALLENGER, 5, 6))
    assert [(one.raised_by, one.end) for one in groups] == [(CHAMPION, None), (CHALLENGER, at(6))]


def test_both_that_stand_are_the_same() -> None:
    (group,) = grouped(alarm(CHAMPION, 1, None), alarm(CHALLENGER, 50, None))
    assert (group.raised_by, group.end) == ("both", None)


def test_the_sentence_counts_what_is_the_same_what_is_new_and_what_is_gone() -> None:
    alarms = [alarm(CHAMPION, 1, 2), alarm(CHALLENGER, 1, 2), alarm(CHAMPION, 5, 6)]
    said = recent(*grouped(*alarms, alarm(CHAMPION, 8, 9))).sentence()
    assert said == (
        "In the last 90 days the champion raised 3 alarms, this one 1: 1 the same, 0 new, "
        "2 no longer."
    )


def test_the_sentence_says_how_many_were_learned_from_and_that_the_gate_does_not_count_them() -> (
    None
):
    (group,) = grouped(alarm(CHALLENGER, 1, 2))
    seen = AlarmGroup(group.alarms, taught=True)
    said = recent(seen, group, days=7.25).sentence()
    assert said.startswith("In the last 7.2 days the champion raised 0 alarms, this one 2: ")
    assert said.endswith(
        "1 of these 2 lies in days that taught this one and is not unseen: the gate goes by later "
        "days alone."
    )


@pytest.mark.parametrize(("count", "told"), [(0, "0 alarms"), (1, "1 alarm"), (2, "2 alarms")])
def test_without_champion_the_challenger_is_told_alone(count: int, told: str) -> None:
    alarms = [alarm(CHALLENGER, 10 * place, 10 * place + 1) for place in range(count)]
    said = recent(*grouped(*alarms), bundles=(CHALLENGER,)).sentence()
    assert said == f"In the last 90 days this one would have raised {told}."


def test_the_table_says_of_each_alarm_when_by_whom_and_what_people_said() -> None:
    (group,) = grouped(alarm(CHALLENGER, 50, None), alarm(CHAMPION, 2, None))
    (later,) = grouped(alarm(CHAMPION, 20, 21))
    labelled = AlarmGroup(group.alarms, labelled="true fault", taught=True)
    table = recent(labelled, later).table()
    assert table.row(0, named=True) == {
        "start": at(2),
        "end": None,
        "raised by": "both",
        "raised by this one at": at(50.5),
        "raised by the champion at": at(2.5),
        "first channels": "flow, level",
        "labelled": "true fault",
        "taught this one": "yes: not unseen",
    }
    last = table.row(1, named=True)
    assert (last["raised by this one at"], last["end"]) == (None, at(21))
    assert (last["labelled"], last["taught this one"]) == ("not labelled", "no")
