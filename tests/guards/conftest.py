"""What the guards look at: the files of the repository."""

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]
MADE = {"build", "dist", "mlruns", "lightning_logs"}


def run_program(
    command: Sequence[str | Path], *, env: dict[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)  # noqa: S603  # our own


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a program to its end and hands over what it printed."""
    return run_program


def is_ours(folder: str) -> bool:
    made = folder.startswith((".", "__")) or folder.endswith(".egg-info") or folder in MADE
    return folder == ".ci" or not made


def walk_files() -> list[Path]:
    """Every file outside what `make` and the tools make, for a copy without history."""
    files: list[Path] = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if is_ours(name)]
        files += [Path(folder, name) for name in names]
    return sorted(files)


@pytest.fixture(scope="session")
def repository_files() -> list[Path]:
    """The files that git knows, or would after `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    git = run_program(command)
    listed = git.stdout.split("\0") if git.returncode == 0 else []
    return [ROOT / name for name in listed if (ROOT / name).is_file()] or walk_files()
