"""What no file of the repository may contain, and which files it may not have."""

import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]
ROOT = Path(__file__).parents[2]
REFUSE_OUTPUTS = ROOT / ".ci" / "refuse_outputs"
FORBIDDEN = {
    "path of one machine": re.compile(
        r"(?<![\w.~-])/(?:work|root|home|Users|workspace|builds)/\w|/opt/(?:wheels|pypi)|/site-packages/\w"
    ),
    "registry": re.compile(
        r"pypi\.(?:org|python\.org)|pythonhosted\.org|registry\.npmjs\.org|deb\.debian\.org"
        r"|proxy\.golang\.org|download\.pytorch\.org|--(?:extra-)?index-url"
    ),
    "pandas import": re.compile(r"^\s*(?:import|from)[ \t]+pandas\b", re.MULTILINE),
}
EXAMPLES = [
    ("path of one machine", "folder = '/" + "home/ann/plant'"),
    ("path of one machine", "see /" + "work/plant.csv"),
    ("registry", "https://files.python" + "hosted.org/x"),
    ("pandas import", "def f():\n    import " + "pandas as pd"),
]


def findings(kind: str, files: list[Path]) -> list[str]:
    texts = {file: file.read_bytes().decode("latin-1") for file in files}
    return [
        f"{file.relative_to(ROOT)}: {hit.group().strip()}"
        for file, text in texts.items()
        for hit in FORBIDDEN[kind].finditer(text)
    ]


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_no_file_contains(repository_files: list[Path], kind: str) -> None:
    assert ROOT / "pyproject.toml" in repository_files
    assert findings(kind, repository_files) == []


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_the_patterns_find_what_they_are_for(kind: str, text: str) -> None:
    assert FORBIDDEN[kind].search(text)


def test_every_constraint_is_an_exact_pin() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 100
    exact = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*")
    assert [pin for pin in pins if not exact.fullmatch(pin)] == []


def test_no_output_lies_outside_its_folder(repository_files: list[Path], run: Run) -> None:
    result = run([REFUSE_OUTPUTS, *(file.relative_to(ROOT) for file in repository_files)])
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["study.ipynb", "models/vae.onnx", "rows.parquet", "tests/a.png"])
def test_outputs_elsewhere_are_refused(name: str, run: Run) -> None:
    result = run([REFUSE_OUTPUTS, "README.md", name, "docs/a.png", "tests/cases/one/rows.parquet"])
    assert result.returncode == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [name]
