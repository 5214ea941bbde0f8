"""The command group, and the one place where exceptions become exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence

import click

from npcompile import __version__
from npcompile.cli.output import fail
from npcompile.diagnostics.errors import InputError, InternalError
from npcompile.driver.exit_codes import Exit


def _apply() -> click.Command:
    from npcompile.cli.apply import command

    return command


def _check() -> click.Command:
    from npcompile.cli.check import command

    return command


def _diff() -> click.Command:
    from npcompile.cli.diff import command

    return command


def _emit() -> click.Command:
    from npcompile.cli.emit import command

    return command


def _endpoints() -> click.Command:
    from npcompile.cli.endpoints import command

    return command


def _lab() -> click.Command:
    from npcompile.cli.lab import command

    return command


def _map() -> click.Command:
    from npcompile.cli.map import command

    return command


def _observe() -> click.Command:
    from npcompile.cli.observe import command

    return command


def _rule() -> click.Command:
    from npcompile.cli.rule import command

    return command


def _test() -> click.Command:
    from npcompile.cli.test import command

    return command


def _trace() -> click.Command:
    from npcompile.cli.trace import command

    return command


# Loaded when called: no command pays for what another one imports.
_COMMANDS: Mapping[str, Callable[[], click.Command]] = {
    "apply": _apply,
    "check": _check,
    "diff": _diff,
    "emit": _emit,
    "endpoints": _endpoints,
    "lab": _lab,
    "map": _map,
    "observe": _observe,
    "rule": _rule,
    "test": _test,
    "trace": _trace,
}


class _LazyGroup(click.Group):
    """Loads a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        load = _COMMANDS.get(cmd_name)
        return None if load is None else load()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="npcompile %(version)s")
def app() -> None:
    """Compile Kubernetes NetworkPolicy to kernel packet filters, and find what is wrong with it.

    Exit codes: 0 clean, 1 findings, 2 bad usage or input, 3 undecided.
    """


def _internal(message: str) -> Exit:
    """Neither clean nor a finding: nothing is known."""
    click.echo(f"npcompile: internal error: {message}\nplease report this, with the input", err=True)
    return Exit.UNDECIDED


def run(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, and exit."""
    try:
        code = app.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = Exit.BAD_INPUT
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        code = 130
    except InputError as error:
        code = fail(error.diagnostics)
    except InternalError as error:
        code = _internal(str(error))
    except BrokenPipeError:
        # The reader of our output went away; keep the interpreter from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.CLEAN
    except Exception as error:  # noqa: BLE001 - the one boundary: whatever went wrong, nothing was decided
        traceback.print_exc()
        code = _internal(f"{type(error).__name__}: {error}")
    sys.exit(int(code or 0))
