import socket
from pathlib import Path

import pytest

from faultwatch_edge.watchdog import SOCKET_VARIABLE, Watchdog

SECOND = 1_000_000


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """Where systemd listens."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.settimeout(0.0)
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "notify"))
    return listening


def heard(listening: socket.socket) -> list[str]:
    words = []
    while True:
        try:
            words.append(listening.recv(100).decode())
        except BlockingIOError:
            return words


def test_systemd_is_told_that_it_is_ready_lives_and_stops(systemd: socket.socket) -> None:
    with systemd, Watchdog() as watchdog:
        for second in range(12):
            watchdog.alive(second * SECOND)
        assert heard(systemd) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
        watchdog.__exit__(None, None, None)
        assert heard(systemd) == ["STOPPING=1"]


def test_where_nobody_listens_nothing_happens(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.close()
    with Watchdog() as watchdog:
        watchdog.alive(0)
    monkeypatch.delenv(SOCKET_VARIABLE)
    with Watchdog() as watchdog:
        watchdog.alive(0)
