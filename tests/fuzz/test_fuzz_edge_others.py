"""The other half of what the edge agent reads, beside ``test_fuzz_edge.py``: on another core."""

import edge_parsers
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("name", edge_parsers.NAMES[1::2])
def test_mutated_inputs_are_read_or_answered_for_a_minute(name: str) -> None:
    done = edge_parsers.in_a_process(name, "--seconds", "60", "--seed", "2")
    assert done.returncode == 0, done.stdout + done.stderr
