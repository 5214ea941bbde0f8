"""Nodes whose place is not known, because whoever read them did not look.

A reader of such nodes that asks for a place has something to report.  Then the text is read again, places and all.
"""

from __future__ import annotations

from typing import Any, NoReturn


class UnforeseenError(Exception):
    """Somebody asks for a place that is not known."""


class _Nowhere:
    def __getattr__(self, name: str) -> NoReturn:
        raise UnforeseenError(name)


NOWHERE: Any = _Nowhere()
"""The mark of such a node."""
