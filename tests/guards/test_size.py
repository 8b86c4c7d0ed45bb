"""The size budget: functions of a dozen lines, files that can be read in one go."""

import ast
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("features", "models", "pipelines", "deploy/edge/faultwatch_edge")
FUNCTION_LINES, FILE_LINES = 60, 400
MEDIAN_LINES, P90_LINES = 12, 35


def function_lengths(file: Path) -> dict[str, int]:
    """Lines of every function, from ``def`` to its end, docstring included."""
    functions = [
        node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    name = file.relative_to(ROOT)
    return {
        f"{name}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for node in functions
    }


@pytest.fixture(scope="module")
def python_files(repository_files: list[Path]) -> list[Path]:
    return [file for file in repository_files if file.suffix == ".py"]


def test_no_file_is_too_long(python_files: list[Path]) -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for file in python_files
    }
    assert len(lengths) > len(PACKAGES)
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES} == {}


def test_no_function_is_too_long(python_files: list[Path]) -> None:
    lengths = [item for file in python_files for item in function_lengths(file).items()]
    assert [(name, lines) for name, lines in lengths if lines > FUNCTION_LINES] == []


def test_functions_of_the_packages_are_short(python_files: list[Path]) -> None:
    lengths = [
        lines
        for file in python_files
        if str(file.relative_to(ROOT)).startswith(PACKAGES)
        for lines in function_lengths(file).values()
    ]
    assert np.median(lengths) <= MEDIAN_LINES
    assert np.percentile(lengths, 90) <= P90_LINES
