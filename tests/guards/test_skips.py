"""A skipped test fails a CI run, wherever it lies; elsewhere it is only reported."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]
CONFTEST = Path(__file__).parents[1] / "conftest.py"
SKIPPING = {
    "a test": "import pytest\n\ndef test_one():\n    pytest.skip('no broker')\n",
    "a whole file": "import pytest\n\npytest.skip('no broker', allow_module_level=True)\n",
    "an example": '"""\n>>> 1 + 1  # doctest: +SKIP\n3\n"""\n\ndef test_one():\n    pass\n',
}


PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--doctest-modules"]


def environment(*, ci: str) -> dict[str, str]:
    return {**os.environ, "CI": ci, "PYTEST_ADDOPTS": ""}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    for name in ("tests", "other"):
        (tmp_path / name).mkdir()
    shutil.copy(CONFTEST, tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tests" / "test_kept.py").write_text("def test_kept():\n    pass\n")
    return tmp_path


@pytest.mark.parametrize("what", SKIPPING)
def test_a_skip_fails_the_run_in_ci(suite: Path, what: str, run: Run) -> None:
    (suite / "other" / "test_skipping.py").write_text(SKIPPING[what])
    result = run([*PYTEST, "tests", "other"], cwd=suite, env=environment(ci="true"))
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout
    assert "skips fail in CI" in result.stdout


def test_a_skip_passes_elsewhere(suite: Path, run: Run) -> None:
    (suite / "other" / "test_skipping.py").write_text(SKIPPING["a test"])
    result = run([*PYTEST, "tests", "other"], cwd=suite, env=environment(ci=""))
    assert result.returncode == pytest.ExitCode.OK, result.stdout


def test_a_run_without_skips_passes_in_ci(suite: Path, run: Run) -> None:
    result = run([*PYTEST, "tests", "other"], cwd=suite, env=environment(ci="true"))
    assert result.returncode == pytest.ExitCode.OK, result.stdout
