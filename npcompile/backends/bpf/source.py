"""The C of the datapath, as one text, for a set of features.

Policy never changes a byte of it: what differs between two clusters is in the maps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from npcompile import resources

_FOLDER = "bpf_templates"
_FILES = ("layout.h", "table.h", "reasons.h", "parse.h", "conntrack.h", "events.h", "policy.h", "datapath.c")
# The files include each other, so that an editor can follow them; in one text each is there already.
_PLUMBING = re.compile(r'^#(pragma once|include "[^"]*")\n', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the C is specialised by.

    `sctp`: look at its ports (without, only rules for every protocol allow it).  `recheck`: judge an established flow
    again after the policy has changed.  `constants`: further macros, such as `NP_TCP_CLOSING`, for tests and
    benchmarks.
    """

    ipv6: bool = True
    sctp: bool = True
    events: bool = True
    recheck: bool = False
    constants: Mapping[str, int] = field(default_factory=dict, hash=False)


def render(features: Features) -> str:
    """The whole C, to be compiled with `clang -target bpf`."""
    macros = {
        "NP_IPV6": int(features.ipv6),
        "NP_SCTP": int(features.sctp),
        "NP_EVENTS": int(features.events),
        "NP_RECHECK": int(features.recheck),
        **features.constants,
    }
    head = "".join(f"#define {name} {value}\n" for name, value in sorted(macros.items()))
    body = "\n".join(_PLUMBING.sub("", resources.text(_FOLDER, name)) for name in _FILES)
    return f"{head}\n{body}"
