"""Where chunks of work are done: on the cores of this machine, or by Ray.

The only place that knows Ray. Each chunk has a thread that waits for it and a process that begins
and ends with it: what a process keeps does not add up, and one that is killed takes no other with
it. Threads alone would wait for each other, since most of a training is Python.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from pipelines.settings import Settings, SettingsError

Chunk = TypeVar("Chunk")
Done = TypeVar("Done")
Work = Callable[[Chunk], Iterator[Done]]
"""Does a chunk, and says what is done on the way; a function of a module, for it travels."""
Start = Callable[[Work[Any, Any], Any], Iterator[Any]]
"""Has a chunk done somewhere, and gives what is done of it."""
OBJECTS = 200 * 2**20
"""Bytes that Ray keeps for results, which are small."""


def work_through(
    work: Work[Chunk, Done], cut: Callable[[int], Sequence[Chunk]], settings: Settings
) -> Iterator[Done]:
    """Do chunks, as many at once as there are cores, and give what is done as it comes.

    Of a chunk whose process ends early nothing more comes.

    Args:
        work: does one of them.
        cut: gives what is to be done, for so many places; it travels to other processes.
        settings: names the engine.

    Raises:
        SettingsError: the engine is Ray, which is not installed or does not answer.
    """
    came: SimpleQueue[Done | None] = SimpleQueue()
    with _engine(settings.engine) as (start, at_once):
        chunks = cut(at_once)

        def follow(chunk: Chunk) -> None:
            try:
                for done in start(work, chunk):
                    came.put(done)
            finally:
                came.put(None)

        with ThreadPoolExecutor(min(at_once, len(chunks)) or 1) as threads:
            followed = [threads.submit(follow, chunk) for chunk in chunks]
            try:
                for _ in followed:
                    yield from iter(came.get, None)
            finally:
                threads.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.kill()  # of whoever stops listening; else there is none
            for one in followed:
                one.result()


def _engine(name: str) -> AbstractContextManager[tuple[Start, int]]:
    """What has a chunk done, and how many at once."""
    return nullcontext((_in_process, cores())) if name == "threads" else _ray(name)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _in_process(work: Work[Chunk, Done], chunk: Chunk) -> Iterator[Done]:
    """Do a chunk in a process of its own."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that others hold
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_all, args=(sender, work, chunk), daemon=True)
    process.start()
    sender.close()
    with receiver:
        while True:
            try:
                yield receiver.recv()
            except EOFError:
                break
    process.join()


def _send_all(sender: Connection, work: Work[Chunk, Done], chunk: Chunk) -> None:
    """What the process of a chunk does; it ends with the one that began it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both, and one has to tell
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for done in work(chunk):
        sender.send(done)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _ray(address: str) -> Iterator[tuple[Start, int]]:
    """What does a chunk as a task of Ray, and how many at once.

    Args:
        address: of a cluster, or ``ray``: it is started on this machine, until the block ends.
    """
    try:
        import ray  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise SettingsError(
            f"FAULTWATCH_ENGINE is '{address}', and Ray is not installed; install the extra [ray] "
            "of Faultwatch, or unset it to use the cores of this machine"
        ) from error
    here = {"num_cpus": cores(), "include_dashboard": False, "object_store_memory": OBJECTS}
    where: dict[str, Any] = here if address == "ray" else {"address": address}
    try:
        ray.init(**where, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"FAULTWATCH_ENGINE is '{address}', and Ray does not answer: "
            f"{str(error).splitlines()[0]}; start the cluster, or correct the address"
        ) from error
    # A process for each chunk, as everywhere; a chunk that killed one is not begun again.
    task: Any = ray.remote(max_calls=1, max_retries=0)(_do_all)

    def start(work: Work[Any, Any], chunk: Any) -> Iterator[Any]:  # noqa: ANN401 - of any work
        with suppress(ray.exceptions.RayError):  # its process or its machine is gone, or it failed
            yield from ray.get(task.remote(work, chunk, str(Path.cwd())))

    try:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's
        yield start, int(resources["CPU"])
    finally:
        ray.shutdown()


def _do_all(work: Work[Chunk, Done], chunk: Chunk, folder: str) -> list[Done]:
    with suppress(OSError):  # another machine need not have it, unless paths are relative
        os.chdir(folder)
    return list(work(chunk))
