"""What the edge agent reads withstands mutated inputs; the fuzzing sees what it is there to see."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import edge_parsers
import pytest
from edge_network import Parser

from faultwatch_edge.errors import BundleError


def test_mutated_inputs_are_read_or_answered_by_a_sentence() -> None:
    done = edge_parsers.in_a_process("--seconds", "0.5", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tuple(line.split(":")[0] for line in done.stdout.splitlines()) == edge_parsers.NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", edge_parsers.NAMES[::2])
def test_mutated_inputs_are_read_or_answered_for_a_minute(name: str) -> None:
    done = edge_parsers.in_a_process(name, "--seconds", "60", "--seed", "2")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_error_that_nobody_thought_of_is_a_problem() -> None:
    broken = Parser((), lambda data: data[9])
    assert "IndexError" in edge_parsers.problem_of(broken, b"")[0]


def test_a_sentence_with_control_characters_is_a_problem() -> None:
    def refuse(data: bytes) -> None:
        raise BundleError(f"found {data.decode()}, expected another")

    assert edge_parsers.problem_of(Parser((), refuse), b"a")[0] == ""
    assert "other characters" in edge_parsers.problem_of(Parser((), refuse), b"a\n")[0]


def test_an_input_that_takes_too_long_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_parsers, "LONGEST_S", -1.0)
    assert "took" in edge_parsers.problem_of(Parser((), bytes.upper), b"a")[0]


def test_the_same_seed_makes_the_same_inputs() -> None:
    made = [[edge_parsers.Mutator(seed)([b'{"a": 1}']) for _ in range(5)] for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


HANGING: Final = """
import edge_parsers
edge_parsers.HANGS_S = 0.2
edge_parsers.problem_of(edge_parsers.Parser((), lambda data: edge_parsers.time.sleep(60)), b"a")
"""


def test_an_input_that_hangs_ends_the_process_and_shows_where() -> None:
    command, folder = [sys.executable, "-c", HANGING], Path(edge_parsers.__file__).parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)  # noqa: S603 - our own script
    assert done.returncode == 1
    assert "<lambda>" in done.stderr
