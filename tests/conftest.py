"""What holds for all tests."""

import os
import signal
from collections.abc import Generator, Iterator

import pytest
import structlog

CI = os.environ.get("CI") == "1"


@pytest.fixture(autouse=True)
def logging_as_found() -> Iterator[None]:
    """A service that ran inside a test leaves its logging to no other."""
    yield
    structlog.reset_defaults()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """A skipped test proves nothing, and under CI nobody would notice."""
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"under CI nothing may be skipped: {why}"


def pytest_configure() -> None:
    """A shell that starts the tests in the background has Ctrl-C ignored, and every child inherits
    that; the processes under test are to hear it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
