"""The benchmarks of the datapath run at all: what they say is for a quiet machine, and is not asked here."""

from __future__ import annotations

import importlib

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.kernel("clang")


def test_nanoseconds_a_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    datapath = importlib.import_module("bpf")
    monkeypatch.setattr(datapath, "SIZES", (10, 20))
    rows = datapath.rows("own", 1, 10)  # a packet that is dropped ends it
    assert [(row.shape, row.entries) for row in rows] == [("own", 10), ("own", 20)]
    assert datapath.growth(rows).startswith("own: ")


def test_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    layouts = importlib.import_module("bpf_layouts")
    times = layouts.measured(10, 1, 10)  # an answer that is wrong ends it
    assert set(times) == {name for programs in layouts.QUESTIONS.values() for name in programs.values()}
