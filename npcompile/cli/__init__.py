"""The command line.  Only this package knows click; each command is a file and loads when it is called."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of the `npcompile` command."""
    if sys.argv[1:] in (["--version"], ["version"]):
        # Asked by every script and hook: not worth loading click.
        from npcompile import __version__

        print(f"npcompile {__version__}")
        return
    from npcompile.cli.app import run

    run()
