"""Comparisons of planted versions: what is compared with what, and how it is put in words."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from npcompile.analyses.diff import Changed, Comparison, compare
from npcompile.ir.cluster import Node, Pod, Workload
from npcompile.ir.policy import Policy
from npcompile.ir.program import Program
from npcompile.ir.versions import Change
from npcompile.netset.ports import describe
from tests.unit.relation.building import ANY_POD, block, named, near, pod, policy, program, rule, select, tcp

API = pod("a/api", "10.0.0.1", app="api", ports={"http": 8080})
WEB = pod("a/web", "10.0.0.2", app="web")
CRON = pod("b/cron", "10.0.0.3", app="cron")
PODS = (API, WEB, CRON)
DENY = policy("deny", ingress=[])


def said(comparison: Comparison) -> list[str]:
    return [f"{one.change} {words(one)}" for one in comparison.changes]


def words(one: Changed) -> str:
    ends = [", ".join(str(party) for party in parties) for parties in (one.sources, one.targets)]
    return f"{ends[0]} -> {ends[1]} {describe(one.ports)}"


def between(old: list[Policy], new: list[Policy], *pods: Pod) -> Comparison:
    return compare(program(old, pods or PODS), program(new, pods or PODS))


def test_a_namespace_all_of_whose_pods_are_in() -> None:
    api = policy("api", subjects=select(app="api"), ingress=[rule(near(), on=[tcp(80)])])
    every = policy("api", subjects=select(app="api"), ingress=[rule(ANY_POD, on=[tcp(80)])])
    more = (*PODS, pod("b/job", "10.0.0.4", app="job"))
    assert said(between([api], [every], *more)) == ["opened b/* (2 pods) -> a/api tcp/80"]
    assert said(between([DENY], [every, DENY], *more)) == ["opened every pod (3 pods) -> a/api tcp/80"]


def test_a_workload_is_named_when_all_of_its_pods_are_in() -> None:
    owned = [
        replace(pod(f"b/w-{n}", f"10.0.1.{n}", tier="x" if n else "y"), workload=Workload(kind="Deployment", name="w"))
        for n in range(3)
    ]
    some = policy("api", subjects=select(app="api"), ingress=[rule(ANY_POD, on=[tcp(80)])])
    found = between([DENY], [DENY, some], API, *owned)
    assert said(found) == ["opened b/w (Deployment, 3 pods) -> a/api tcp/80"]
    only = policy(
        "api", subjects=select(app="api"), ingress=[rule(replace(ANY_POD, pods=select(tier="x")), on=[tcp(80)])]
    )
    assert said(between([DENY], [DENY, only], API, *owned)) == ["opened b/w-1, b/w-2 -> a/api tcp/80"]


def test_ports_behind_a_name_are_compared_although_only_one_version_declares_them() -> None:
    http = policy("api", subjects=select(app="api"), ingress=[rule(near(), on=[named("http")])])
    moved = replace(API, ports=pod("a/x", ports={"http": 9090}).ports)
    found = compare(program([http], PODS), program([http], [moved, WEB, CRON]))
    assert said(found) == ["opened a/web -> a/api tcp/9090", "closed a/web -> a/api tcp/8080"]
    gone = compare(program([http], PODS), program([http], [replace(API, ports=()), WEB, CRON]))
    assert said(gone) == ["closed a/web -> a/api tcp/8080"]


def test_labels_of_pods_and_namespaces_are_part_of_the_version() -> None:
    api = policy("api", subjects=select(app="api"), ingress=[])
    found = compare(program([api], PODS), program([api], [replace(API, labels={}), WEB, CRON]))
    assert said(found) == ["opened every pod (2 pods), internet -> a/api any port"]
    team = policy(
        "api", subjects=select(app="api"), ingress=[rule(replace(ANY_POD, namespaces=select(team="x")), on=[tcp(1)])]
    )
    found = compare(program([team], PODS), program([team], PODS, teams={"b": "x"}))
    assert said(found) == ["opened b/cron -> a/api tcp/1"]


def test_an_address_that_changes_is_judged_in_each_version_by_its_own() -> None:
    api = policy("api", subjects=select(app="api"), ingress=[rule(block("10.0.0.0/30"), on=[tcp(80)])])
    away = replace(WEB, addresses=(ip_address("10.9.0.1"),))
    found = compare(program([api], PODS), program([api], [API, away, CRON]))
    assert said(found) == ["closed a/web -> a/api tcp/80"]
    assert [str(flow.src.address) for flow in found.changes[0].witness] == ["10.0.0.2", "10.9.0.1"]


def test_a_pod_that_moves_to_another_node() -> None:
    """Its own node always reaches it; the other node is an address as any."""
    nodes = {"n1": "172.18.0.1", "n2": "172.18.0.2"}
    here, there = (program([DENY], [replace(API, node=name), WEB], nodes=nodes) for name in nodes)
    found = compare(here, there)
    assert said(found) == [
        "opened node 172.18.0.2 -> a/api any port",
        "closed node 172.18.0.1 -> a/api any port",
    ]
    assert found.changes[0].why.own_node
    assert found.changes[0].why.rules == ()


def test_an_agent_on_the_node_does_not_hide_its_address() -> None:
    """A pod on its node's network that comes or goes leaves the node's own flows to be compared."""
    nodes = {"n1": "172.18.0.1"}
    agent = pod("a/agent", "172.18.0.1", node="n1", host_network=True)
    lets = policy("lets", subjects=select(app="api"), ingress=[rule(block("172.18.0.0/16"))])
    old, new = program([lets], [API], nodes=nodes), program([DENY], [API, agent], nodes=nodes)
    found = compare(old, new)
    assert said(found) == ["closed node 172.18.0.1, 172.18.0.0/16 -> a/api any port"]
    assert [(str(one.pod), str(one.version)) for one in found.one_sided] == [("a/agent", "NEW")]
    both = compare(replace(old, cluster=new.cluster), new)
    assert said(both) == ["closed a/agent (host network), 172.18.0.0/16 -> a/api any port"]


DUAL = (
    pod("a/api", "10.0.0.1", "fd00::1", app="api"),
    pod("a/web", "10.0.0.2", "fd00::2", app="web"),
)


def test_both_families_are_one_box_where_they_agree() -> None:
    api = policy("api", ingress=[rule(on=[tcp(80)])])
    assert said(between([DENY], [api, DENY], *DUAL)) == ["opened a/* (2 pods), internet -> a/* (2 pods) tcp/80"]
    only = policy("api", subjects=select(app="api"), ingress=[rule(block("10.0.0.0/8"), on=[tcp(80)])])
    assert said(between([DENY], [DENY, only], *DUAL)) == ["opened a/web (IPv4), 10.0.0.0/8 -> a/api (IPv4) tcp/80"]


def test_a_family_that_only_one_version_has_is_not_compared() -> None:
    single = [replace(DUAL[0], addresses=DUAL[0].addresses[:1]), DUAL[1]]
    found = compare(program([], single), program([DENY], DUAL))
    assert [(str(one.pod), one.family) for one in found.one_sided] == [("a/api", 6)]
    assert all(str(end.family) for one in found.changes for flow in one.witness for end in (flow.src, flow.dst))


def test_a_template_is_no_pod_of_that_name() -> None:
    template = replace(API, template=True, addresses=())
    found = compare(program([], [API, WEB]), program([DENY], [template, WEB]))
    assert [(str(one.pod), str(one.version)) for one in found.one_sided] == [("a/api", "OLD"), ("a/api", "NEW")]
    assert said(found) == ["closed internet -> a/web any port"]


def test_two_pods_of_one_template() -> None:
    template = replace(API, template=True, addresses=())
    found = between([], [policy("deny", subjects=select(app="api"), ingress=[])], template)
    (one,) = found.changes
    assert words(one) == "a/api, internet -> a/api any port"
    assert one.witness.new.src.pod is None


def test_surprise_needs_a_rule_at_the_other_end_and_a_new_isolation() -> None:
    out = policy("out", subjects=select(app="web"), egress=[rule(near(app="api"), on=[tcp(80)])])
    found = between([out], [out, DENY])
    assert [str(one.surprise.witness.new.src) for one in found.changes if one.surprise] == ["a/web"]
    assert not any(one.surprise for one in between([], [DENY]).changes)
    opened = policy("api", ingress=[rule()])
    assert not any(one.surprise for one in between([out, opened], [out, DENY]).changes), "it was isolated before"
    into = policy("in", subjects=select(app="api"), ingress=[rule(near(app="web"), on=[tcp(80)])])
    mute = policy("mute", subjects=select(app="web"), egress=[])
    assert [str(one.surprise.direction) for one in between([into], [into, mute]).changes if one.surprise] == ["egress"]


@pytest.mark.parametrize("pieces", [0, 1, 3, 10])
def test_little_effort_is_said(pieces: int) -> None:
    rules = [rule(near(app=name), on=[tcp(port)]) for port, name in enumerate(("api", "web", "cron"), 80)]
    policies = [policy("p", ingress=rules), policy("q", ingress=rules, namespace="b")]
    old, new = program(policies, PODS), program([], PODS)
    assert not compare(old, new, pieces).complete
    assert compare(old, new).complete
    flows = [sum(len(list(one.ports)) for one in compare(old, new, effort).of(Change.OPENED)) for effort in (pieces,)]
    assert flows[0] > 0


def test_nodes_by_both_versions() -> None:
    """An address that is a node's in one version only is compared, as what it is in each."""
    old, new = program([DENY], [replace(API, node="n1")]), program([DENY], [replace(API, node="n1")])
    node = Node(name="n1", addresses=(ip_address("172.18.0.1"),))
    known = replace(new, cluster=replace(new.cluster, nodes={"n1": node}))
    assert said(compare(old, known)) == ["opened node 172.18.0.1 -> a/api any port"]
    assert said(compare(known, old)) == ["closed node 172.18.0.1 -> a/api any port"]


def test_policies_are_counted_by_meaning() -> None:
    found = between([DENY, policy("x", ingress=[])], [policy("deny", ingress=[rule()]), policy("y", ingress=[])])
    assert (found.policies.added, found.policies.removed, found.policies.changed) == (("a/y",), ("a/x",), ("a/deny",))


def test_the_order_of_the_input_does_not_matter() -> None:
    api = policy("api", subjects=select(app="api"), ingress=[rule(near(), on=[tcp(80)])])

    def versions(flip: int) -> tuple[Program, Program]:
        pods = PODS[::flip]
        return program([DENY], pods), program([api, DENY][::flip], pods)

    assert compare(*versions(1)).changes == compare(*versions(-1)).changes
