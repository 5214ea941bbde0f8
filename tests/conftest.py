"""What all tests share: hypothesis profiles, kernel tests, golden files, and the material beside the repository.

Kernel tests carry `@pytest.mark.kernel`, with the names of the programs that they run as its arguments:
`@pytest.mark.kernel("iptables-restore", "ipset")`.  They skip, saying why, where they cannot run.  With
NPCOMPILE_REQUIRE_KERNEL=1, which CI sets on machines that can run them, such a skip is a failure.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests.golden import ACCEPTED, Golden

ROOT = Path(__file__).resolve().parent.parent
KERNEL_TESTS = "tests/kernel/"

# Time limits say more about a busy machine than about the code.  CI has the same examples every time.
_QUIET = (HealthCheck.too_slow,)
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True, suppress_health_check=_QUIET)
settings.register_profile("dev", deadline=None, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def shared_dir(name: str = "") -> Path:
    """The folder `name` of the material beside the repository (`../shared`), or a skip that says it is absent."""
    path = _shared() / name
    if not path.exists():
        pytest.skip(f"../shared/{name} is absent".replace("/ is", " is"))
    return path


def need_module(name: str) -> None:
    """Skip where a Python module of the dependency group `dev` is not installed; in CI that is a failure."""
    if importlib.util.find_spec(name) is None:
        skip_or_fail(f"the Python module {name} is not installed (`pip install --group dev`)")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip for something that any developer's machine may lack, and CI's may not."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def need_kernel(*programs: str) -> None:
    """Skip where kernel tests cannot run or one of `programs` is missing; for what a marker cannot say."""
    if reason := _kernel_obstacle() or _missing(programs):
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test finds, it finds out; tests of the cache name a folder of their own."""
    monkeypatch.setenv("NPCOMPILE_CACHE_DIR", "")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", help="rewrite golden files with what the tests got")


def pytest_report_header() -> list[str]:
    obstacle = _kernel_obstacle()
    return [
        f"kernel tests: {'skipped, ' + obstacle if obstacle else 'run'}{' (required)' if _kernel_required() else ''}",
        f"../shared: {'present' if _shared().is_dir() else 'absent, the tests that need it skip'}",
    ]


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """`golden.check(text, file)`: compare with a golden file, or rewrite it under `--accept`."""
    return Golden(accept=request.config.getoption("--accept"), properties=request.node.user_properties)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("kernel"):
        need_kernel(*marker.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("kernel"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and collector.nodeid.startswith(KERNEL_TESTS):
        _refuse_skip(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for file in _accepted(terminalreporter):
        terminalreporter.write_line(f"accepted {file}")


def _accepted(terminalreporter: pytest.TerminalReporter) -> Iterator[str]:
    passed = terminalreporter.stats.get("passed", [])
    files = {str(value) for report in passed for name, value in report.user_properties if name == ACCEPTED}
    yield from sorted(files)


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not _kernel_required():
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"NPCOMPILE_REQUIRE_KERNEL is set, so this kernel test must run; it said: {reason}"


def _kernel_required() -> bool:
    return os.environ.get("NPCOMPILE_REQUIRE_KERNEL", "") not in ("", "0")


@functools.cache
def _kernel_obstacle() -> str:
    if os.geteuid() != 0:
        return "not root"
    if problem := _missing(("unshare", "ip")):
        return problem
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return "" if made.returncode == 0 else f"no network namespace can be made ({made.stderr.strip()})"


def _missing(programs: tuple[str, ...]) -> str:
    absent = [program for program in programs if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def _shared() -> Path:
    return ROOT.parent / "shared"
