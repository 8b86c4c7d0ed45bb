"""The readers withstand mutated files, and the fuzzing sees what it is there to see."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from features import csv_text
from features.rows import Split
from pipelines import reading

READERS = Path(__file__).with_name("readers.py")
ASSET = """
[asset]
id = "pump_07"
[source]
files = "data/*"
[window]
sample_period_s = 60.0
[[channel]]
name = "flow"
"""
LINES = "time,flow\n2026-05-01T08:00:00Z,1\nsoon,2\n2026-05-01T08:02:00Z,3\n"


def fuzz(folder: Path, seconds: int) -> subprocess.CompletedProcess[str]:
    options = ["--seconds", str(seconds), "--seed", "1", "--failures", str(folder)]
    command = [sys.executable, str(READERS), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script


def test_mutated_files_become_rows_or_a_sentence(tmp_path: Path) -> None:
    done = fuzz(tmp_path, 3)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_mutated_files_become_rows_or_a_sentence_for_a_minute(tmp_path: Path) -> None:
    done = fuzz(tmp_path, 60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    """The process that reads, as a module."""
    spec = importlib.util.spec_from_file_location(
        "reader_process", READERS.parent / "reader_process.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reader_process"] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def request_line(tmp_path: Path) -> str:
    (tmp_path / "step_1").mkdir()
    (tmp_path / "step_1" / "pump.csv").write_text(LINES, encoding="utf-8")
    (tmp_path / "asset.toml").write_text(ASSET, encoding="utf-8")
    return json.dumps({"folder": str(tmp_path), "ingest": True, "init": False})


def test_a_readable_file_is_no_problem(reader: ModuleType, request_line: str) -> None:
    answer = reader.answer(request_line)
    assert (answer["problem"], answer["outcomes"]) == ("", ["2 1"])


def test_a_panic_is_a_problem(
    reader: ModuleType, request_line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def panic(*_: object, **__: object) -> Split:
        raise BaseException("index out of bounds")  # noqa: TRY002 - as polars raises it

    monkeypatch.setattr(reading, "split_block", panic)
    assert "index out of bounds" in reader.answer(request_line)["problem"]


def test_an_infinite_value_is_a_problem(
    reader: ModuleType, request_line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(*arguments: object, **options: object) -> Split:
        split = csv_text.split_block(*arguments, **options)  # type: ignore[arg-type]
        samples = split.samples.with_columns(flow=pl.lit(float("inf")))
        return Split(samples, split.quarantined)

    monkeypatch.setattr(reading, "split_block", spoiled)
    assert "NaN or infinity" in reader.answer(request_line)["problem"]


def test_a_lost_row_is_a_problem(
    reader: ModuleType, request_line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    careful = csv_text._parse_line_by_line  # noqa: SLF001 - breaks it

    def forgetful(*arguments: object) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame]:
        raw, lines, refused = careful(*arguments)  # type: ignore[arg-type]
        return raw[1:], lines[1:], refused

    monkeypatch.setattr(csv_text, "_parse_line_by_line", forgetful)
    assert reader.answer(request_line)["problem"].startswith("line by line")


def test_a_sentence_over_two_lines_is_a_problem(
    reader: ModuleType, request_line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Split:
        raise reading.ReadError("pump.csv cannot be read:\nrepair it")

    monkeypatch.setattr(reading, "split_block", refuse)
    assert "control characters" in reader.answer(request_line)["problem"]
