"""A folder of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from npcompile.runtime.namespaces import own_folder


@pytest.mark.kernel
def test_a_folder_of_ones_own_is_empty_and_goes(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    before = Path.cwd()
    with own_folder(tmp_path):
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "ours").write_text("ours")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
    assert Path.cwd() == before
