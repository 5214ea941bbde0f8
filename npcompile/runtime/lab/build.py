"""Makes a planned lab of network namespaces, veth pairs and routes, by netlink.

Every link is a pair `eth0` at the place and its `ifname` at the parent (the router, or the pod's node).  The parent
answers as gateway on each, 169.254.… and fe80::1, and has a route to each address behind it.  Address resolution is the
kernel's own, so a filter that breaks it is seen.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from npcompile.netset.cidrs import Address, Family, family_of
from npcompile.runtime.lab.plan import NodePlace, Place, Plan
from npcompile.runtime.lab.services import ruleset
from npcompile.runtime.namespaces import Namespace, has_ipv6

_EVERYTHING = {Family.V4: "0.0.0.0/0", Family.V6: "::/0"}
_FAMILIES = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_PARENT, _CHILD = IPv6Address("fe80::1"), IPv6Address("fe80::2")
_FIRST_INDEX = 1000  # of the links at a parent: beyond those that the kernel makes by itself
_SCOPE_LINK = 253  # RT_SCOPE_LINK of linux/rtnetlink.h
_NO_DAD = 2  # IFA_F_NODAD of linux/if_addr.h

# Sources are what the probes say they are.
_ENDS: dict[str, int | str] = {"net/ipv4/conf/all/rp_filter": 0, "net/ipv4/conf/default/rp_filter": 0}
_ENDS_V6: dict[str, int | str] = {
    "net/ipv6/conf/default/accept_ra": 0,
    "net/ipv6/conf/default/addr_gen_mode": 1,  # no link-local addresses but ours
}
_ROUTERS: dict[str, int | str] = {"net/ipv4/ip_forward": 1}
_ROUTERS_V6: dict[str, int | str] = {"net/ipv6/conf/all/forwarding": 1}


@dataclass(frozen=True, slots=True)
class _Parent:
    """Where links are made: a namespace, its netlink socket, and the address that it has on each link."""

    netlink: IPRoute
    gateway: Address
    place: NodePlace | None = None


class LabError(Exception):
    """The lab cannot be made; the message is what the kernel or a program said."""


@contextmanager
def built(plan: Plan) -> Iterator[Mapping[str, Namespace]]:
    """The namespaces of a plan's places, by name, wired and with the Services' translations; gone afterwards.

    Raises LabError.
    """
    with ExitStack() as stack:
        try:
            made = _make(plan, stack)
        except subprocess.CalledProcessError as error:
            raise LabError(f"`nft` failed: {' '.join(error.stderr.split())}") from None
        except (OSError, NetlinkError) as error:
            raise LabError(str(error.args[-1]).lower()) from error
        yield made


def _make(plan: Plan, stack: ExitStack) -> dict[str, Namespace]:
    router = _namespace(stack, routes=True)
    core = _Parent(_netlink(stack, router), plan.router_gateway)
    made: dict[str, Namespace] = {}
    for number, node in enumerate(plan.nodes):
        own = made[node.name] = _namespace(stack, routes=True)
        _join(core, number, node, own)
        parent = _Parent(_netlink(stack, own), plan.node_gateway, node)
        for index, pod in enumerate(node.pods):
            made[pod.name] = _namespace(stack, routes=False)
            _join(parent, index, pod, made[pod.name])
            _route(core, number, node, pod)
        _translate(own, ruleset(plan.forwards, node.addresses))
    for number, place in enumerate(plan.outside, len(plan.nodes)):
        made[place.name] = _namespace(stack, routes=False)
        _join(core, number, place, made[place.name])
    return made


def _namespace(stack: ExitStack, *, routes: bool) -> Namespace:
    made = stack.enter_context(closing(Namespace()))
    values = {**_ENDS, **(_ROUTERS if routes else {})}
    if has_ipv6():
        values |= {**_ENDS_V6, **(_ROUTERS_V6 if routes else {})}
    made.sysctl(values)
    return made


def _netlink(stack: ExitStack, where: Namespace) -> IPRoute:
    with where.entered():
        return stack.enter_context(IPRoute())


def _join(parent: _Parent, number: int, place: Place, own: Namespace) -> None:
    """A veth pair between a parent and a place, addresses on both ends, and the routes."""
    index = _FIRST_INDEX + number
    netlink = parent.netlink
    netlink.link("add", index=index, ifname=place.ifname, kind="veth", peer={"ifname": "eth0", "net_ns_fd": own.fd})
    netlink.link("set", index=index, state="up")
    families = {family_of(address) for address in place.addresses}
    if Family.V4 in families:
        _add(netlink, index, parent.gateway)
    if Family.V6 in families:
        _add(netlink, index, _PARENT, 64)
    with own.entered(), IPRoute() as inner:
        _settle_in(inner, socket.if_nametoindex("eth0"), place, parent.gateway)
    for address in place.addresses:
        source = _source(parent, family_of(address))
        netlink.route("add", dst=_whole(address), oif=index, scope=_SCOPE_LINK, **source)


def _settle_in(netlink: IPRoute, index: int, place: Place, gateway: Address) -> None:
    netlink.link("set", index=socket.if_nametoindex("lo"), state="up")
    netlink.link("set", index=index, state="up")
    families = {family_of(address) for address in place.addresses}
    for address in place.addresses:
        _add(netlink, index, address)
    if Family.V4 in families:
        netlink.route("add", dst=_whole(gateway), oif=index, scope=_SCOPE_LINK)
        netlink.route("add", dst=_EVERYTHING[Family.V4], gateway=str(gateway), oif=index)
    if Family.V6 in families:
        _add(netlink, index, _CHILD, 64)
        netlink.route("add", family=socket.AF_INET6, dst=_EVERYTHING[Family.V6], gateway=str(_PARENT), oif=index)


def _add(netlink: IPRoute, index: int, address: Address, length: int | None = None) -> None:
    """Give a link an address that is there at once: IPv6 would first ask around for who else has it."""
    bits = length or family_of(address).bits
    flags = {"flags": _NO_DAD} if family_of(address) is Family.V6 else {}
    netlink.addr("add", index=index, address=str(address), prefixlen=bits, **flags)


def _route(core: _Parent, number: int, node: NodePlace, pod: Place) -> None:
    """The router's routes to a pod behind its node."""
    for address in pod.addresses:
        family = family_of(address)
        first = next(str(one) for one in node.addresses if family_of(one) is family)
        gateway = first if family is Family.V4 else str(_CHILD)
        core.netlink.route(
            "add", family=_FAMILIES[family], dst=_whole(address), gateway=gateway, oif=_FIRST_INDEX + number
        )


def _source(parent: _Parent, family: Family) -> dict[str, str]:
    """What a node sends from, when nothing else is asked for."""
    own = parent.place.addresses if parent.place else ()
    return next(({"prefsrc": str(address)} for address in own if family_of(address) is family), {})


def _whole(address: Address) -> str:
    return f"{address}/{family_of(address).bits}"


def _translate(node: Namespace, text: str) -> None:
    if text:
        with node.entered():
            subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)
