"""`npcompile observe`."""

from __future__ import annotations

import io
import json
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from npcompile.driver.observe import observe
from npcompile.ir.flow import Verdict
from npcompile.netset.ports import Protocol

_SAID = {
    "lost": "{} events lost: they came faster than they were read",
    "skipped": "{} earlier events skipped: --earlier shows them",
    "removed": "the datapath was removed",
}
_WITH_PORTS = {one.value.lower() for one in Protocol if one.has_ports}
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@click.command("observe", short_help="Print what the loaded BPF datapath decides, as it decides.")
@click.option("--verdict", type=click.Choice([str(one) for one in Verdict]), help="Only these.")
@click.option("--output-format", type=click.Choice(["text", "jsonl"]), default="text", show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0), help="End after so long.  [until interrupted]")
@click.option("--earlier", is_flag=True, help="Begin with the events that waited for an observer.")
def command(*, verdict: str | None, output_format: str, seconds: float | None, earlier: bool) -> int:
    """Print each verdict on a packet that belongs to no known flow, until interrupted.

    Lost events are counted and said.  One observer at a time.  Ends when the datapath is removed, or nobody reads what
    it prints.  Needs root.
    """
    with _stopped() as stopped:
        for event in observe(Verdict(verdict) if verdict else None, seconds, earlier=earlier, stopped=stopped):
            if output_format == "jsonl":
                click.echo(json.dumps(event))
            elif said := next((text.format(event[word]) for word, text in _SAID.items() if word in event), None):
                click.echo(said, err=True)
            else:
                click.echo(_line(event))
    return 0


@contextmanager
def _stopped() -> Iterator[Callable[[], bool]]:
    """Whether we were asked to end, by SIGINT or SIGTERM, or the reader of our output has gone."""
    asked: list[int] = []
    before = {number: signal.signal(number, lambda one, _: asked.append(one)) for number in _SIGNALS}
    reader = select.poll()
    with suppress(io.UnsupportedOperation):  # it need not be a file
        reader.register(sys.stdout.fileno(), 0)  # errors are told in any case
    try:
        yield lambda: bool(asked) or any(what & select.POLLERR for _, what in reader.poll(0))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(event: dict[str, object]) -> str:
    """The event for people: ports where the protocol has any, `?` for what was not read of the packet."""
    source, destination, protocol = event["src"] or "?", event["dst"] or "?", event["protocol"]
    if protocol in _WITH_PORTS:
        source = f"[{source}]" if ":" in str(source) else source
        source, protocol = f"{source}:{event['source_port']}", f"{protocol}/{event['destination_port']}"
    rule = f"  {event['rule']}" if event["rule"] else ""
    return (
        f"{event['verdict']:5}  {source} -> {destination}  {'?' if protocol == '0' else protocol}  "
        f"{event['direction']}  {event['reason']}{rule}"
    )
