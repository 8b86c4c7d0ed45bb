"""The pages say what the code does: their examples run, and what they name exists."""

import ast
import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EDGE = ROOT / "deploy" / "edge"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.py)(?::([\w.]+))?`")
STEP = re.compile(r"^### .*`([^`]+\.py)`", re.MULTILINE)
SECTIONS = ("## Status", "## Context", "## Decision", "## Consequences")

PAGES = sorted(DOCS.rglob("*.md"))
WITH_EXAMPLES = [page for page in sorted(DOCS.glob("*.md")) if "```python" in page.read_text()]
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def only_examples(text: str) -> str:
    """The Python blocks where they stand, all else as empty lines, so that line numbers hold."""
    kept, end = "", 0
    for block in BLOCK.finditer(text):
        kept += "\n" * text.count("\n", end, block.start(1)) + block.group(1)
        end = block.end(1)
    return kept


def failures(text: str, name: str) -> str:
    """What the examples of one page, run in one namespace, print otherwise than the page says."""
    found: list[str] = []
    page = doctest.DocTestParser().get_doctest(only_examples(text), {}, name, name, 0)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(page, out=found.append)
    return "".join(found)


def names_in(file: Path) -> set[str]:
    """Functions, classes, their members and constants of a module."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        names |= defined(node)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{name}" for part in node.body for name in defined(part)}
    return names


def defined(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case _:
            return set()


def absent(text: str) -> list[str]:
    """What a page names as ``path.py`` or ``path.py:name`` and the repository does not have."""
    missing = []
    for path, name in NAMED.findall(text):
        files = [file for file in (ROOT / path, EDGE / path) if file.is_file()]
        if not files or (name and name not in names_in(files[0])):
            missing.append(f"{path}:{name}")
    return missing


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=name_of)
def test_every_example_prints_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    differences = failures(page.read_text(encoding="utf-8"), name_of(page))
    assert not differences, differences


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=name_of)
def test_no_block_of_python_is_left_out(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [block for block in BLOCK.findall(text) if not block.startswith(">>> ")] == []
    assert len(BLOCK.findall(text)) == text.count("```python")


def test_a_wrong_result_is_found_on_its_line() -> None:
    page = "One\n\n```python\n>>> x = 1\n```\n\n```python\n>>> x + 1\n3\n```\n"
    assert "line 8" in failures(page, "page.md")
    assert failures(page.replace("3", "2"), "page.md") == ""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_and_name_exists(page: Path) -> None:
    assert absent(page.read_text(encoding="utf-8")) == []


def test_a_wrong_name_is_found() -> None:
    assert absent("`models/vae.py:ConvVae.encode` `models/vae.py:encode` `models/no.py`") == [
        "models/vae.py:encode",
        "models/no.py:",
    ]


def test_one_sample_takes_no_step_back() -> None:
    steps = STEP.findall((DOCS / "one-sample.md").read_text(encoding="utf-8"))
    assert len(steps) > 10
    assert len(set(steps)) == len(steps)


@pytest.mark.parametrize("page", DECISIONS, ids=name_of)
def test_decisions_have_one_form(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert re.findall(r"^## .*", text, re.MULTILINE) == list(SECTIONS)


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
