"""Chunks of work in processes of their own, and by a real Ray."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from operator import call
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine import work_through
from pipelines.settings import Settings, SettingsError, load_settings

Steps = Sequence[Callable[[], Any]]
DO = partial(map, call)
"""Takes steps one after the other, and gives what each gives."""
PROGRAM = """
import os, time
from functools import partial
from operator import call
from pipelines.engine import work_through
from pipelines.settings import Settings
if __name__ == "__main__":
    steps = [os.getpid, partial(time.sleep, 600)]
    for done in work_through(partial(map, call), lambda _: [steps], Settings()):
        print(done, flush=True)
"""


def done_by(engine: str, *chunks: Steps) -> list[Any]:
    return list(work_through(DO, lambda _: chunks, Settings(engine=engine)))


def test_every_chunk_is_done_in_a_process_of_its_own() -> None:
    pids = done_by("threads", *[[os.getpid, os.getpid]] * 3)
    assert sorted(pids.count(pid) for pid in set(pids)) == [2, 2, 2]
    assert os.getpid() not in pids


def test_nothing_to_do_is_done_at_once() -> None:
    assert done_by("threads") == []


def test_a_process_that_is_killed_takes_only_the_rest_of_its_chunk_with_it() -> None:
    first: Steps = [partial(abs, -1), partial(os._exit, 9), partial(abs, -2)]
    assert sorted(done_by("threads", first, [partial(abs, -3)], [partial(abs, -4)])) == [1, 3, 4]


def test_no_process_outlives_the_one_that_began_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(  # noqa: S603 - ours
        [sys.executable, str(program)], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        worker = Path("/proc") / process.stdout.readline().strip()
        assert worker.is_dir()
        process.send_signal(signal.SIGKILL)
    patience = time.monotonic() + 60
    while worker.is_dir():
        assert time.monotonic() < patience
        time.sleep(0.1)


def test_who_stops_listening_leaves_no_process_behind() -> None:
    coming = work_through(DO, lambda _: [[os.getpid, partial(time.sleep, 600)]], Settings())
    worker = Path("/proc") / str(next(coming))
    coming.close()  # type: ignore[attr-defined]  # a generator
    assert not worker.is_dir()


@pytest.mark.slow
def test_ray_does_the_same() -> None:
    dies: Steps = [partial(os._exit, 9)]
    here, fails = Path.cwd(), [partial(int, "x")]
    done = done_by("ray", [Path.cwd, os.getpid], dies, fails, [Path.cwd, os.getpid])
    assert done.count(here) == 2
    assert len(set(done) - {here, os.getpid()}) == 2


def test_without_ray_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"Ray is not installed; install the extra \[ray\]"):
        done_by("ray", [])


def test_an_engine_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULTWATCH_ENGINE", "dask")
    with pytest.raises(SettingsError, match="FAULTWATCH_ENGINE is 'dask'"):
        load_settings()
