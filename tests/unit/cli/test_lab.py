"""`npcompile lab` as it is typed, up to where it would touch the machine."""

from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from tests.commands import Result, npcompile

EXAMPLE = "examples/payments"


def lab(*arguments: str | Path, stdin: bytes = b"") -> Result:
    return npcompile("lab", *arguments, "--target", "iptables", stdin=stdin)


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not root, so that no test here makes anything."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_it_needs_root() -> None:
    result = lab(EXAMPLE)
    assert (result.code, result.out) == (2, "")
    assert "needs root" in result.err


def test_everything_that_the_machine_lacks_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("npcompile.driver.lab.distribution", missing)
    monkeypatch.setattr("npcompile.driver.lab.shutil.which", lambda _: None)
    result = lab(EXAMPLE, "--shell")
    assert result.code == 2
    for words in ("needs root", "install `npcompile[linux]`", "`nft`", "`nsenter` and `setpriv`"):
        assert words in result.err


def test_it_needs_ipv6_for_addresses_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("npcompile.driver.lab.has_ipv6", lambda: False)
    file = tmp_path / "pod.yaml"
    file.write_text('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "status": {"podIP": "fd00::1"}}')
    assert "this kernel has no IPv6" in lab(file).err
    assert "this kernel has no IPv6" not in lab(EXAMPLE).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--probe", "tcp/80,http"), "`http` is no port"),
        (("--probe", "tcp/http"), "`tcp/http` is no number"),
        (("--probe", "tcp/0"), "a port is between 1 and 65535"),
        (("--probe", ""), "is no port"),
        (("--probe", "tcp/80", "--flows", "-"), "either --probe or --flows"),
        (("--flows", "-", "-f", "-"), "`-` can be read once"),
        (("nowhere",), "`nowhere` does not exist"),
    ],
)
def test_bad_usage(arguments: tuple[str, ...], said: str) -> None:
    result = lab(EXAMPLE, *arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def flow(src: str, dst: str, port: str = "tcp/80") -> str:
    return json.dumps({"src": src, "dst": dst, "port": port}) + "\n"


def test_all_bad_flows_are_named(tmp_path: Path) -> None:
    file = tmp_path / "flows"
    file.write_text(
        flow("analytics/reporting-0", "production/postgres-0")
        + flow("analytics/reporting", "nobody/none")
        + flow("2001:db8::1", "production/postgres-0")
        + flow("production/postgres", "analytics/reporting-0", "tcp/http")
    )
    result = lab(EXAMPLE, "--flows", file)
    assert (result.code, result.out) == (2, "")
    assert "line 2: `nobody/none` is not in the input" in result.err
    assert "line 3: " in result.err
    assert "have no address family in common" in result.err
    assert "line 4: `analytics/reporting-0` declares no port" in result.err


@pytest.mark.parametrize("address", ["127.0.0.1", "224.0.0.1", "::1", "fe80::1%eth0", "2001:db8::1%eth0"])
def test_addresses_that_no_host_can_have(address: str, tmp_path: Path) -> None:
    file = tmp_path / "flows"
    file.write_text(flow(address, address))
    result = lab(EXAMPLE, "--flows", file)
    assert result.code == 2
    assert f"{address}" in result.err
    assert "needs root" not in result.err


def test_nothing_to_try(tmp_path: Path) -> None:
    blank = tmp_path / "flows"
    blank.write_text("\n")
    result = lab(EXAMPLE, "--flows", blank)
    assert result.code == 2
    assert "the list of flows is empty" in result.err
    file = tmp_path / "empty.yaml"
    file.write_text("")
    result = lab(file)
    assert result.code == 2
    assert "no pods" in result.err
    file.write_text(
        '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"hostNetwork": true, "nodeName": "n"}}'
    )
    result = lab(file)
    assert result.code == 2
    assert "on its node's network" in result.err
