from datetime import datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle
from features.windows import Windows
from pipelines.scoring import BundleScorer

HALF_HOUR_US = 1_800_000_000
Told = tuple[tuple[str, ...], int, int | None]


def tell_by_the_agent(bundle: Bundle, cells: np.ndarray, times_us: np.ndarray) -> list[Told]:
    """Channels, onset and end of what the agent's own messages say."""
    agent, told = Agent(bundle), list[Told]()
    messages = [
        message
        for time_us, values in zip(times_us.tolist(), cells.tolist(), strict=True)
        for message in agent.process(time_us, values)
    ]
    for message in [*messages, *agent.finish()]:
        if message["condition"] != "model_health":
            continue
        onset_us, at_us = (
            round(datetime.fromisoformat(str(message[key])).timestamp() * 1e6)
            for key in ("onset_at", "transition_at")
        )
        if message["state"] == "active":
            causes: list[dict[str, str]] = message["contributors"]  # type: ignore[assignment]
            told.append((tuple(cause["channel"] for cause in causes), onset_us, None))
        else:
            told[-1] = (*told[-1][:2], at_us)
    return told


def windows_of(cells: np.ndarray, times_us: np.ndarray) -> Windows:
    """All windows of two cells; a sequence ends where a cell is missing."""
    sequence = np.concatenate(([0], np.cumsum(np.diff(times_us) > HALF_HOUR_US)))
    ends = 1 + np.flatnonzero(np.diff(sequence) == 0)
    return Windows(cells, times_us.astype("datetime64[us]"), sequence, ends, 2)


@given(
    values=st.lists(
        st.tuples(st.sampled_from([10.0, 11.5, 12.5, 18.0, np.nan]), st.sampled_from([10.0, 11.5])),
        min_size=2,
        max_size=40,
    ),
    cut=st.integers(0, 40),
    gap=st.integers(0, 40),
)
def test_any_slices_tell_the_operating_points_of_the_agent(
    knowing_bundle: Bundle, values: list[tuple[float, float]], cut: int, gap: int
) -> None:
    cells = np.array(values, np.float32)
    steps = np.ones(len(cells), np.int64)
    steps[gap : gap + 1] = 5
    times_us = np.cumsum(steps) * HALF_HOUR_US
    windows = windows_of(cells, times_us)
    scorer = BundleScorer(knowing_bundle)
    for ends in np.split(windows.ends, [min(cut, len(windows))]):
        if len(ends):
            scorer.score(Windows(cells, windows.times, windows.sequences, ends, 2))
    records = scorer.operating_points.records
    found = [(one.channels, one.onset_us, one.ended_us) for one in records]
    assert found == tell_by_the_agent(knowing_bundle, cells, times_us)


def test_a_new_operating_point_is_told_from_its_first_window_to_its_end(
    knowing_bundle: Bundle,
) -> None:
    values = [10.0] * 4 + [12.5] * 6 + [10.0] * 6
    cells = np.array([[value, 10.0] for value in values], np.float32)
    times_us = np.arange(1, len(cells) + 1) * HALF_HOUR_US
    scorer = BundleScorer(knowing_bundle)
    scorer.score(windows_of(cells, times_us))
    (record,) = scorer.operating_points.records
    assert record.channels == ("a",)
    assert (record.onset_us, record.ended_us) == (5 * HALF_HOUR_US, 13 * HALF_HOUR_US)
    assert not scorer.alarms


def test_an_anomaly_is_not_told_as_a_new_operating_point(knowing_bundle: Bundle) -> None:
    cells = np.array([[10.0, 10.0]] * 4 + [[18.0, 10.0]] * 8, np.float32)
    scorer = BundleScorer(knowing_bundle)
    scorer.score(windows_of(cells, np.arange(1, len(cells) + 1) * HALF_HOUR_US))
    assert not scorer.operating_points.records
    assert len(scorer.alarms) == 1
