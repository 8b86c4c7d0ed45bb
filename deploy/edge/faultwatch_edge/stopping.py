"""SIGINT and SIGTERM end a run between two lines, never inside one."""

import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self, TypeVar

Item = TypeVar("Item")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _StopWaiting(BaseException):
    """Breaks a read that waits; never raised while an item is worked on."""


class Stop:
    """Ends ``guard``'s iteration at the first signal; the second one kills, as without this.

    Example:
        >>> with Stop() as stop:
        ...     for item in stop.guard(iter([1, 2, 3])):
        ...         print(item)
        ...         signal.raise_signal(signal.SIGTERM)
        1
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._is_waiting = False
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def guard(self, items: Iterator[Item]) -> Iterator[Item]:
        """Pass items on until a signal comes, also while the next one is waited for."""
        while not self.is_requested:
            try:
                self._is_waiting = True
                item = next(items)
                self._is_waiting = False
            except (StopIteration, _StopWaiting):
                return
            finally:
                self._is_waiting = False
            yield item

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.is_requested = True
        signal.signal(number, signal.SIG_DFL)
        if self._is_waiting:
            self._is_waiting = False
            raise _StopWaiting
