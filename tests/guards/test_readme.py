"""Every command in the README exists: no verb, option or target that is only promised."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]
ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^ *```(?:sh|bash|shell|console)[ \t]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"^([a-z][a-z-]*):[^=\n]*## ", re.MULTILINE)
PROGRAMS = ("make", "faultwatch", "faultwatch-edge")


def words_of(command: str) -> list[str]:
    """The words of one command, without prompt, comment and settings; empty when it is not ours."""
    words = shlex.split(command.strip().removeprefix("$ "), comments=True)
    while words and re.match(r"\w+=", words[0]):
        del words[0]
    if not words or Path(words[0]).name not in PROGRAMS:
        return []
    return [Path(words[0]).name, *words[1:]]


def shell_commands(text: str) -> list[list[str]]:
    """Each command of ours in the fenced shell blocks, as words."""
    lines = "\n".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    commands = [part for line in lines for part in re.split(r"&&|\|\|?|;", line)]
    return [words for words in map(words_of, commands) if words]


@pytest.fixture(scope="module")
def commands() -> list[list[str]]:
    return shell_commands((ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def targets() -> set[str]:
    return set(TARGET.findall((ROOT / "Makefile").read_text()))


def test_commands_are_found_in_shell_blocks_only() -> None:
    text = (
        "```sh\nmake demo  # first\n$ A=1 .venv/bin/faultwatch train x.toml \\\n  --fast\n```\n"
        "```toml\nmake = 1\n```\n`make no`\n  ```console\n  $ make test\n  2 passed\n  ```\n"
    )
    assert shell_commands(text) == [
        ["make", "demo"],
        ["faultwatch", "train", "x.toml", "--fast"],
        ["make", "test"],
    ]


def test_the_readme_names_the_demo_and_the_tests(commands: list[list[str]]) -> None:
    assert ["make", "demo"] in commands
    assert ["make", "test"] in commands


def test_every_make_target_of_the_readme_exists(
    commands: list[list[str]], targets: set[str]
) -> None:
    words = [word for program, *words in commands if program == "make" for word in words]
    assert {word for word in words if re.fullmatch("[a-z-]+", word)} <= targets


def test_make_lists_its_targets(targets: set[str], run: Run) -> None:
    listed = re.findall(r"^  make (\S+)  +\S", run(["make"]).stdout, re.MULTILINE)
    assert set(listed) == targets
    assert {"demo", "test", "check", "fix", "bench"} <= targets


def test_every_verb_and_option_of_the_readme_exists(commands: list[list[str]], run: Run) -> None:
    for program, *words in commands:
        if program == "make":
            continue
        verb = [word for word in words[:1] if not word.startswith("-")]
        result = run([Path(sys.executable).with_name(program), *verb, "--help"])
        assert result.returncode == 0, f"{program} {verb}: {result.stderr}"
        options = {word.split("=")[0] for word in words if word.startswith("--")}
        assert options <= set(re.findall(r"--[a-z-]+", result.stdout)), f"{program} {verb}"
