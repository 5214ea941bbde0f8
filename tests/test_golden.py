"""The golden helper and the kernel marker do what CI relies on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden import ACCEPTED, Golden

pytest_plugins = ["pytester"]
HERE = Path(__file__).resolve().parent


def test_equal_text_passes(tmp_path: Path) -> None:
    file = tmp_path / "case.err"
    file.write_text("one\n", encoding="utf-8")
    Golden().check("one\n", file)


@pytest.mark.parametrize("before", ["two\n", "one", "", None])
def test_other_text_fails_and_leaves_the_file(tmp_path: Path, before: str | None) -> None:
    file = tmp_path / "case.err"
    if before is not None:
        file.write_text(before, encoding="utf-8")
    with pytest.raises(pytest.fail.Exception, match=r"case\.err"):
        Golden().check("one\n", file)
    assert (file.read_text(encoding="utf-8") if file.exists() else None) == before


def test_accept_writes_the_file_and_reports_it(tmp_path: Path) -> None:
    file = tmp_path / "area" / "case.err"
    golden = Golden(accept=True)
    golden.check("one\n", file)
    assert file.read_text(encoding="utf-8") == "one\n"
    assert golden.properties == [(ACCEPTED, str(file))]


KERNEL_CASES = """
import pytest

@pytest.mark.kernel("a-program-that-nobody-has")
def test_by_marker():
    raise AssertionError

@pytest.mark.kernel
def test_by_skip():
    pytest.skip("had enough")

def test_plain_skip():
    pytest.skip("not a kernel test")
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project of its own with this project's conftest."""
    pytester.makeini("[pytest]\nmarkers = kernel: kernel tests\n")
    tests = pytester.mkpydir("tests")
    for name in ("conftest.py", "golden.py"):
        (tests / name).write_text((HERE / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tests / "test_cases.py").write_text(KERNEL_CASES, encoding="utf-8")
    kernel = pytester.mkpydir("tests/kernel")
    (kernel / "test_module.py").write_text(
        "import pytest\npytest.importorskip('a_module_that_nobody_has')\n", encoding="utf-8"
    )
    return pytester


def test_kernel_tests_skip_with_a_reason(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NPCOMPILE_REQUIRE_KERNEL", raising=False)
    result = project.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=4)
    result.stdout.re_match_lines([r".*(not installed: a-program-that-nobody-has|not root|network namespace).*"])


def test_required_kernel_tests_fail_when_skipped(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPCOMPILE_REQUIRE_KERNEL", "1")
    # Setup and call reports of skipped kernel tests fail; a module that skips itself while it is collected is an error.
    # `--continue-on-collection-errors` shows both in one run.
    result = project.runpytest_subprocess("--continue-on-collection-errors")
    outcomes = result.parseoutcomes()
    assert outcomes.pop("skipped") == 1
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) == 3
    assert result.ret == pytest.ExitCode.TESTS_FAILED
