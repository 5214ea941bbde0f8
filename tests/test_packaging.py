"""What is installed is whole: from a wheel, an editable install and a checkout, npcompile runs and finds its data.

Environments here are made without pip; npcompile's dependencies come from the environment that runs the tests, through
a .pth file, so that nothing is downloaded and what is imported as npcompile is the install under test and no other.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, need_module, skip_or_fail

DATA = ("grammar", "bpf_templates")
EXAMPLE = ROOT / "examples" / "payments"

# Prints where npcompile was imported from, then every data file that it finds, with its size.
REPORT = """
import npcompile, npcompile.resources
from pathlib import Path
print(Path(npcompile.__file__).parent)
for folder in ("grammar", "bpf_templates"):
    top = npcompile.resources.directory(folder)
    for path in sorted(p for p in top.rglob("*") if p.is_file()):
        print(folder, path.relative_to(top), path.stat().st_size)
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment in which one install of npcompile is the only one."""

    directory: Path

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        """What a command prints, when it succeeds."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
        run = subprocess.run(
            [str(part) for part in command],
            cwd=cwd or self.directory,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout


def pip_install(environment: Environment, *arguments: str | Path) -> None:
    """Install with the pip of the running environment, without dependencies and without a network."""
    pip = (sys.executable, "-m", "pip", "--python", environment.python, "--disable-pip-version-check")
    environment.run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", *arguments)


@pytest.fixture
def new_environment(tmp_path: Path) -> Callable[[], Environment]:
    def make() -> Environment:
        directory = tmp_path / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
        (packages,) = directory.glob("lib/python*/site-packages")
        dependencies = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        # Only the folders: .pth files inside them, such as that of an editable npcompile, are not read from here.
        (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in dependencies), encoding="utf-8")
        return Environment(directory)

    return make


def hatch(source: Path, target: str, out: Path) -> Path:
    """Build a wheel or a source distribution."""
    need_module("hatchling")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


def data_of_the_checkout() -> list[str]:
    return [
        f"{folder} {path.relative_to(ROOT / folder)} {path.stat().st_size}"
        for folder in DATA
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file()
    ]


def check_install(environment: Environment, package: Path) -> None:
    """`environment` runs the npcompile at `package`, whole."""
    where, *data = environment.run(environment.python, "-I", "-c", REPORT).splitlines()
    assert Path(where).resolve() == package.resolve()
    assert data == data_of_the_checkout()
    program = environment.directory / "bin" / "npcompile"
    version = environment.run(environment.python, "-I", "-c", "import npcompile; print(npcompile.__version__)").strip()
    assert version in environment.run(program, "--version")
    environment.run(program, "check", EXAMPLE)


def test_a_wheel(tmp_path: Path, new_environment: Callable[[], Environment]) -> None:
    environment = new_environment()
    pip_install(environment, hatch(ROOT, "wheel", tmp_path / "dist"))
    (packages,) = environment.directory.glob("lib/python*/site-packages")
    check_install(environment, packages / "npcompile")


def test_an_editable_install() -> None:
    # `make` installs npcompile so; building another one here would need packages that only a network has.
    if not editable():
        skip_or_fail("npcompile is not an editable install here (`pip install --editable .`)")
    check_install(Environment(Path(sys.prefix)), ROOT / "npcompile")


def editable() -> bool:
    try:
        record = importlib.metadata.distribution("npcompile").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return False
    return bool(record and json.loads(record).get("dir_info", {}).get("editable"))


def test_a_checkout(new_environment: Callable[[], Environment]) -> None:
    environment = new_environment()
    where, *data = environment.run(environment.python, "-c", REPORT, cwd=ROOT).splitlines()
    assert Path(where).resolve() == ROOT / "npcompile"
    assert data == data_of_the_checkout()
    environment.run(environment.python, "-m", "npcompile", "check", EXAMPLE, cwd=ROOT)


def test_a_source_distribution_makes_the_same_wheel(tmp_path: Path) -> None:
    direct = hatch(ROOT, "wheel", tmp_path / "direct")
    shutil.unpack_archive(hatch(ROOT, "sdist", tmp_path / "sdist"), tmp_path / "source")
    (source,) = (tmp_path / "source").iterdir()
    built = hatch(source, "wheel", tmp_path / "from-sdist")
    assert contents(built) == contents(direct)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
