"""What the edge agent reads withstands mutated inputs; the fuzzing sees what it is there to see."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from faultwatch_edge.errors import BundleError

SCRIPT: Final = Path(__file__).with_name("edge_parsers.py")
NAMES: Final = (
    *("payload", "payload_of_one", "order", "config", "state", "csv", "manifest", "golden"),
    *("certificate", "bundle", "page", "registry"),
)


def fuzz(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--seed", "1", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script


def test_mutated_inputs_are_read_or_answered_by_a_sentence() -> None:
    done = fuzz("--seconds", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tuple(line.split(":")[0] for line in done.stdout.splitlines()) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mutated_inputs_are_read_or_answered_for_a_minute(name: str) -> None:
    done = fuzz(name, "--seconds", "60")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def parsers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("edge_parsers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["edge_parsers"] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_an_error_that_nobody_thought_of_is_a_problem(parsers: ModuleType) -> None:
    broken = parsers.Parser((), lambda data: data[9])
    assert "IndexError" in parsers.problem_of(broken, b"")[0]


def test_a_sentence_with_control_characters_is_a_problem(parsers: ModuleType) -> None:
    def refuse(data: bytes) -> None:
        raise BundleError(f"found {data.decode()}, expected another")

    assert parsers.problem_of(parsers.Parser((), refuse), b"a")[0] == ""
    assert "other characters" in parsers.problem_of(parsers.Parser((), refuse), b"a\n")[0]


def test_an_input_that_takes_too_long_is_a_problem(
    parsers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsers, "LONGEST_S", -1.0)
    assert "took" in parsers.problem_of(parsers.Parser((), bytes.upper), b"a")[0]


def test_the_same_seed_makes_the_same_inputs(parsers: ModuleType) -> None:
    made = [[parsers.Mutator(seed)([b'{"a": 1}']) for _ in range(5)] for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
