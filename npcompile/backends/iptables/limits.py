"""What iptables and ipset cannot do, beyond what no packet filter can."""

from __future__ import annotations

from collections.abc import Iterator

from npcompile.backends.filters.limits import BAD_OPTION, CAPACITY
from npcompile.backends.iptables.structure import Ruleset
from npcompile.backends.target import Options
from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, diagnose

DEFAULT_MARK = 0x0100_0000
KUBE_PROXY_MARKS = 0xC000  # 0x4000 to masquerade, 0x8000 to drop
MOST_SETS = 65534  # IPSET_INVALID_ID of linux/netfilter/ipset/ip_set.h, less one
_SPARE_SETS = 1  # the temporary set of a reload


def mark_of(options: Options) -> int:
    """The bit of the packet mark that the chains use."""
    return DEFAULT_MARK if options.mark is None else options.mark


def wrong_options(options: Options) -> Iterator[Diagnostic]:
    """What the target cannot do of what is asked for."""
    mark = mark_of(options)
    if not 0 < mark < 1 << 32 or mark & (mark - 1):
        message = f"the mark `{mark:#x}` is not one bit of 32"
        yield diagnose(BAD_OPTION, None, message, help="choose a power of two such as `0x1000000`")
    elif mark & KUBE_PROXY_MARKS:
        message = f"the mark `{mark:#x}` is one of kube-proxy's (`0x4000`, `0x8000`)"
        yield diagnose(BAD_OPTION, None, message, help="choose another bit such as `0x1000000`")


def refuse_size(ruleset: Ruleset) -> None:
    """Raise InputError when the kernel cannot hold what was lowered."""
    if len(ruleset.sets) + _SPARE_SETS > MOST_SETS:
        message = f"the policies need {len(ruleset.sets)} sets, and the kernel has room for {MOST_SETS}"
        hint = "emit for one node with `--node`, let rules share their selectors, or emit another target"
        raise InputError([diagnose(CAPACITY, None, message, help=hint)])
