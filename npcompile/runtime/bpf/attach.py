"""The programs at the interfaces: filters of the qdisc clsact, at both hooks of the host's end of a pod's pair.

clsact rather than a tcx link: it is there in every kernel that has the maps and helpers which the programs need, while
tcx begins with Linux 6.6; a filter, too, is replaced in one step and lives as long as its interface.  What others have
attached stays.  Ours come first: a program that says "pass" ends the asking, ours say "go on".
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from itertools import product
from typing import TYPE_CHECKING

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import diagnose
from npcompile.ir.policy import Direction
from npcompile.netset.cidrs import Address
from npcompile.runtime.bpf.filters import filters, netlink, qdisc
from npcompile.runtime.bpf.libbpf import Program
from npcompile.runtime.loader import MACHINE

if TYPE_CHECKING:
    from pyroute2 import IPRoute

PROGRAMS = {Direction.EGRESS: "np_from_pod", Direction.INGRESS: "np_to_pod"}
_PRIORITY = 1
_HANDLE = 0x4E504331  # "NPC1": what we recognise ours by
_HOOKS = {Direction.EGRESS: 0xFFFFFFF2, Direction.INGRESS: 0xFFFFFFF3}  # TC_H_MIN_INGRESS, TC_H_MIN_EGRESS
_DIRECT_ACTION = 1
_QDISC = "clsact"


def interfaces() -> Mapping[str, int]:
    """The indices of this network namespace's interfaces, by name."""
    return {name: index for index, name in socket.if_nameindex()}


def own_addresses() -> frozenset[Address]:
    """Every address of this network namespace's interfaces."""
    with _netlink() as route:
        found = (one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS") for one in route.get_addr())
        return frozenset(ip_address(text) for text in found if text)


def attach(ifindex: int, programs: Mapping[Direction, Program]) -> None:
    """Put the programs at an interface, each in the place of an earlier one of ours, if there is one.

    The qdisc `ingress` takes filters for both hooks and puts them at one, so that nothing would judge what goes to the
    pod.
    """
    with _netlink(f"attach to {_name(ifindex)}") as route, netlink() as kernel:
        with _tolerated(errno.EEXIST):
            route.tc("add", _QDISC, index=ifindex)
        if qdisc(kernel, ifindex) != _QDISC:
            message = "it has another qdisc than `clsact`, which lacks a hook; remove that"
            raise OSError(errno.EEXIST, f"attach to {_name(ifindex)}: {message}")
        for direction, program in programs.items():
            route.tc("replace-filter", "bpf", ifindex, _HANDLE, **_filter(direction), fd=program.fd,
                     name=PROGRAMS[direction], flags=_DIRECT_ACTION)  # fmt: skip


def attached() -> Mapping[int, frozenset[Direction]]:
    """By interface, the hooks at which a program of ours is."""
    with _netlink() as route:
        return attached_of(sorted(one["index"] for one in route.get_qdiscs() if one.get_attr("TCA_KIND") == _QDISC))


def attached_of(indices: Iterable[int]) -> Mapping[int, frozenset[Direction]]:
    """The same of some interfaces, which may have gone."""
    found: dict[int, set[Direction]] = {}
    with netlink() as kernel:
        for index, direction in product(indices, Direction):
            if (_PRIORITY, _HANDLE) in filters(kernel, index, _HOOKS[direction]):
                found.setdefault(index, set()).add(direction)
    return {index: frozenset(hooks) for index, hooks in found.items()}


def detach(ifindex: int) -> None:
    """Remove the programs of ours from an interface, and the qdisc if nothing else is attached to it.

    An interface that is gone has none.
    """
    with _netlink(f"detach from {_name(ifindex)}") as route, netlink() as kernel, _tolerated(errno.ENODEV):
        for direction in Direction:
            if (_PRIORITY, _HANDLE) in filters(kernel, ifindex, _HOOKS[direction]):
                route.tc("del-filter", "bpf", ifindex, _HANDLE, **_filter(direction))
        if not any(filters(kernel, ifindex, _HOOKS[direction]) for direction in Direction):
            with _tolerated(errno.EINVAL, errno.ENOENT):
                route.tc("del", _QDISC, index=ifindex)


def _filter(direction: Direction) -> dict[str, int]:
    return {"parent": _HOOKS[direction], "prio": _PRIORITY, "protocol": 0x0003}  # ETH_P_ALL


def _name(ifindex: int) -> str:
    try:
        return f"`{socket.if_indextoname(ifindex)}`"
    except OSError:
        return f"interface {ifindex}"


@contextmanager
def _netlink(doing: str = "look at the interfaces") -> Iterator[IPRoute]:
    """The kernel's side; its failures are OSErrors that say what was being done."""
    try:
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError
    except ImportError:
        told = diagnose(MACHINE, None, "pyroute2 is not installed", help="install `npcompile[linux]`")
        raise InputError([told]) from None
    try:
        with IPRoute() as route:
            yield route
    except NetlinkError as error:
        raise OSError(error.code, f"{doing}: {os.strerror(error.code)}") from None


@contextmanager
def _tolerated(*codes: int) -> Iterator[None]:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise
