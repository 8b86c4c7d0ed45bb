"""What a training costs, and what its bundle will cost a device."""

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from faultwatch_edge.bundle import Bundle
from features.windows import Windows
from pipelines.watch import runtime_rate

KIB_PER_MB = 1e6 / 1024


class Stopwatch:
    """Wall seconds of the parts of some work; a part that comes again is added to.

    Example:
        >>> stopwatch = Stopwatch()
        >>> with stopwatch.part("learning"):
        ...     _ = sum(range(10))
        >>> stopwatch.add({"learning": 2.0, "exporting": 1.0})
        >>> [(name, round(spent)) for name, spent in stopwatch.seconds.items()]
        [('learning', 2), ('exporting', 1)]
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what the block takes, also if it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add({name: time.perf_counter() - began})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Count what was measured elsewhere."""
        for name, spent in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


def cost_metrics(
    seconds: Mapping[str, float], bundle: Bundle, size_bytes: int, windows: Windows
) -> dict[str, float]:
    """Costs under the names that MLflow shows.

    Args:
        seconds: of each part of the training.
        bundle: what a device would run.
        size_bytes: of its file.
        windows: which its graph is timed on, one by one, for about a second.

    Returns:
        ``seconds.PART`` and ``seconds.total``; ``peak_memory_mb``, the most that was resident in
        this process, of 10^6 bytes; ``edge.window_us``, microseconds that the graph takes for a
        window on this machine; ``edge.bundle_bytes``.
    """
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        **{f"seconds.{part}": spent for part, spent in seconds.items()},
        "seconds.total": sum(seconds.values()),
        "peak_memory_mb": peak_kib / KIB_PER_MB,
        "edge.window_us": 1e6 / runtime_rate(bundle, windows, batch=1),
        "edge.bundle_bytes": float(size_bytes),
    }
