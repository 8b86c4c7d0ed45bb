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
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeVar

from pipelines.settings import Settings, SettingsError

Chunk = TypeVar("Chunk")
Done = TypeVar("Done")
Work = Callable[[Chunk], Iterator[Done]]
"""Does a chunk, and says what is done on the way; a function of a module, for it travels."""
OBJECTS = 200 * 2**20
"""Bytes that Ray keeps for results, which are small."""


def work_through(
    work: Work[Chunk, Done], chunks: Sequence[Chunk], settings: Settings
) -> Iterator[Done]:
    """Do chunks, as many at once as there are cores, and give what is done as it comes.

    Of a chunk whose process ends early nothing more comes.

    Args:
        work: does one of them.
        chunks: what is to be done; travels to other processes.
        settings: names the engine.

    Raises:
        SettingsError: the engine is Ray, which is not installed or does not answer.
    """
    start, at_once = _engine(settings.engine)
    came: SimpleQueue[Done | None] = SimpleQueue()

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
                child.kill()
        for one in followed:
            one.result()


def _engine(name: str) -> tuple[Callable[[Work[Chunk, Done], Chunk], Iterator[Done]], int]:
    """What does a chunk, and how many it does at once."""
    if name == "threads":
        return _in_process, cores()
    return _by_ray(name)


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


def _by_ray(address: str) -> tuple[Callable[[Work[Chunk, Done], Chunk], Iterator[Done]], int]:
    """Do chunks as tasks of Ray: on this machine, or in the cluster at an address."""
    try:
        import ray  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise SettingsError(
            f"FAULTWATCH_ENGINE is '{address}', and Ray is not installed; install the extra [ray] "
            "of Faultwatch, or unset it to use the cores of this machine"
        ) from error
    try:
        if address == "ray":
            ray.init(
                num_cpus=cores(),
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=OBJECTS,
                ignore_reinit_error=True,
            )
        else:
            ray.init(address, log_to_driver=False, ignore_reinit_error=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"FAULTWATCH_ENGINE is '{address}', and Ray does not answer: "
            f"{str(error).splitlines()[0]}; start the cluster, or correct the address"
        ) from error
    task: Any = ray.remote(max_calls=1)(_do_all)  # a process for each, as everywhere
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's

    def start(work: Work[Chunk, Done], chunk: Chunk) -> Iterator[Done]:
        try:
            yield from ray.get(task.remote(work, chunk))
        except ray.exceptions.WorkerCrashedError:
            return

    return start, int(resources["CPU"])


def _do_all(work: Work[Chunk, Done], chunk: Chunk) -> list[Done]:
    return list(work(chunk))
