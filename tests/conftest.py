"""What every test runs in: own state folders, no telemetry, one numeric thread; no silent skip.

For some: a Prefect server, a browser, a PostgreSQL server.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

settings.register_profile("busy", deadline=None)
settings.load_profile("busy")  # a busy machine is no failure

ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "OMP_NUM_THREADS": "1",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "RAY_USAGE_STATS_ENABLED": "0",
}

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USER = "plant"
BROWSER_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
"""Without a sandbox, as tests may run as root."""


def pytest_configure(config: pytest.Config) -> None:
    """Runs before any test module, and so before anything that reads these at import."""
    os.environ.update(ENVIRONMENT)
    for name in [name for name in os.environ if name.startswith("FAULTWATCH_")]:
        del os.environ[name]  # what the developer has set must not decide a test
    home = tempfile.TemporaryDirectory(prefix="faultwatch-tests-", ignore_cleanup_errors=True)
    os.environ["FAULTWATCH_HOME"] = f"{home.name}/faultwatch"
    os.environ["PREFECT_HOME"] = f"{home.name}/prefect"
    config.add_cleanup(home.cleanup)


def skipped_reports(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = [] if reporter is None else reporter.stats.get("skipped", [])
    return [report.nodeid for report in reports]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where ``CI=true``, a run that skipped anything has failed, wherever the skipped test lies."""
    passed = session.exitstatus == pytest.ExitCode.OK
    if passed and os.environ.get("CI") == "true" and skipped_reports(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    skipped = skipped_reports(config)
    if skipped and os.environ.get("CI") == "true":
        terminalreporter.section("skips fail in CI", red=True)
        terminalreporter.line("\n".join(skipped))


@pytest.fixture(scope="session")
def prefect_harness() -> Iterator[None]:
    """A Prefect server and database of the tests' own; about ten seconds, once a run."""
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415  # over a second to import

    with prefect_test_harness(server_startup_timeout=60):
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium; install the Debian package chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address of an empty database in a PostgreSQL server that ends with the tests."""
    with running_postgres() as server:
        yield server.address


@pytest.fixture(scope="module")
def own_postgres() -> Iterator["Postgres"]:
    """A PostgreSQL server that may be killed, and started again."""
    with running_postgres() as server:
        yield server


@contextmanager
def running_postgres() -> Iterator["Postgres"]:
    """Make a server's data and run it."""
    if not BINARIES:
        pytest.skip("there is no PostgreSQL server; install the Debian package postgresql")
    with tempfile.TemporaryDirectory(prefix="faultwatch-postgres-") as name:
        server = Postgres(Path(name))
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Postgres:
    """A PostgreSQL server and its data; what it has answered stays, even if it is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, password = folder, secrets.token_hex(16)
        (folder / "password").write_text(password)
        if os.geteuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/postgres"
        make: list[object] = ["-D", folder / "data", "-U", USER, f"--pwfile={folder / 'password'}"]
        make += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        command = as_postgres("initdb", *make)
        subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 - ours

    def start(self) -> None:
        serve: list[object] = ["-D", self.folder / "data", "-p", self.port]
        serve += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        serve += ["-c", "fsync=off", "-c", "full_page_writes=off"]
        command, log = as_postgres("postgres", *serve), self.folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - ours
                command, cwd=self.folder, stdout=output, stderr=output
            )
        wait_for_postgres(self._process, self.address, log)

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it without waiting for clients; with SIGQUIT as in a crash."""
        self._process.send_signal(number)
        self._process.wait(30)


def as_postgres(program: str, *arguments: object) -> list[str]:
    """A command that root gives up its rights for, and that ends with the tests even if killed."""
    rights = ["--reuid=postgres", "--regid=postgres", "--init-groups"] if not os.geteuid() else []
    command = [str(BINARIES[-1] / program), *map(str, arguments)]
    return ["setpriv", *rights, "--pdeathsig=INT", *command]


def wait_for_postgres(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    for _ in range(300):
        try:
            psycopg.connect(address).close()
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())
