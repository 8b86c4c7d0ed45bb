"""What every test runs in: own state folders, no telemetry, one numeric thread; no silent skip."""

import os
import shutil
import tempfile
from collections.abc import Iterator

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
