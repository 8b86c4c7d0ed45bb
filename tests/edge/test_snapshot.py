"""An agent that is stopped and goes on from its snapshot says what one says that was not."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.errors import BundleError
from faultwatch_edge.message import Message
from faultwatch_edge.score_row import ScoreRow
from faultwatch_edge.snapshot import read_state, write_state

SECOND = 1_000_000
Sample = tuple[int, list[float]]
VALUES = st.tuples(
    st.sampled_from([10.0, 10.3, 18.0, 18.1, 1e31, math.nan]),
    st.sampled_from([1.0, 2.0, math.nan]),
    st.floats(0.0, 100.0) | st.just(math.nan),
)
STEPS = st.sampled_from([1, 1, 1, 1, 1, 2, 5, -2, 0, 40])


@st.composite
def streams(draw: st.DrawFn) -> list[Sample]:
    """Samples about a second apart, in long spells of one kind, some late, doubled or far apart."""
    at_s, samples = 1_000, []
    for values, count in draw(st.lists(st.tuples(VALUES, st.integers(1, 12)), max_size=8)):
        for _ in range(count):
            at_s += draw(STEPS)
            samples.append((at_s * SECOND, list(values)))
    return samples


def stopped_and_resumed(agent: Agent, bundle: Bundle, rows: list[ScoreRow]) -> Agent:
    text = write_state(agent.state)
    again = Agent(bundle, on_score=rows.append)
    again.resume(read_state(text, where="pump"))
    assert write_state(again.state) == text
    return again


@settings(deadline=None)
@given(samples=streams(), stops=st.sets(st.integers(0, 60), max_size=6), acknowledged=st.integers())
def test_stopping_anywhere_changes_nothing(
    bundle: Bundle, samples: list[Sample], stops: set[int], acknowledged: int
) -> None:
    told: list[list[Message]] = [[], []]
    scored: list[list[ScoreRow]] = [[], []]
    for which in (0, 1):
        agent = Agent(bundle, on_score=scored[which].append)
        for number, (at_us, values) in enumerate(samples):
            if which and number in stops:
                agent = stopped_and_resumed(agent, bundle, scored[1])
            told[which] += agent.process(at_us, values)
            if number == acknowledged % 60:
                told[which] += agent.acknowledge(at_us)
        told[which] += agent.finish()
    assert told[0] == told[1]
    assert scored[0] == scored[1]


def test_the_snapshot_of_another_version_is_told_by_its_words(bundle: Bundle) -> None:
    text = write_state(Agent(bundle).state)
    assert read_state(text, where="pump").bundle_sha256 == bundle.sha256
    with pytest.raises(
        BundleError, match=r"pump: alarm\.state is 'asleep', expected one of normal"
    ):
        read_state(text.replace('"normal"', '"asleep"', 1), where="pump")
    with pytest.raises(BundleError, match=r"pump: .* is not known, expected only"):
        read_state(text.replace('"version"', '"release"', 1), where="pump")
