"""Planted policies that no verdict depends on, whatever is in the cluster, and near misses."""

from __future__ import annotations

from npcompile.ir.labels import NAMESPACE_NAME, Operator, Requirement, Selector
from npcompile.ir.policy import Policy
from npcompile.questions import NotDecided, Unfelt
from npcompile.symbolic.engine import SymbolicEngine
from tests.unit.symbolic.build import block, listed, named, pod, pods, policy, program, rule, select, tcp
from tests.unit.symbolic.replay import check

DENY = policy("deny", ingress=[], egress=[])
OPENED = policy("opened", select(app="api"), ingress=[rule(pods(app="web"), tcp(80))])


def told(*parts: object) -> list[str]:
    of = program(*parts)  # type: ignore[arg-type]
    found = []
    for one in SymbolicEngine(of).unfelt():
        assert isinstance(one, Unfelt)
        check(of, one)
        found.append(one.policy.name)
    return found


def letting_go(port: int, **to: str) -> Policy:
    return policy("let-go", select(app="web"), egress=[rule(pods(**to), tcp(port))])


def _not_named(name: str) -> Selector:
    return select(Requirement(key=NAMESPACE_NAME, operator=Operator.NOT_IN, values=(name,)))


def test_what_the_other_end_denies() -> None:
    assert told(OPENED, DENY) == ["opened"]
    assert told(OPENED, policy("deny", ingress=[])) == [], "whoever it lets in may send"
    assert told(OPENED, policy("deny", ingress=[], egress=[]), pod("web", app="web")) == ["opened"], "real pods, too"
    assert told(OPENED, DENY, letting_go(80, app="api")) == [], "web may send that now"
    assert told(OPENED, DENY, letting_go(81, app="api")) == ["let-go", "opened"], "each a port that the other closes"


def test_some_pod_of_some_namespace_may_send() -> None:
    near = policy("near", select(app="api"), ingress=[rule(pods(named("web", "shop"), app="web"))])
    assert told(near, DENY) == [], "nothing closes `web`"
    far = policy("deny", namespace="web", egress=[])
    assert told(near, DENY, far) == ["near"]
    assert told(near, DENY, policy("deny", select(app="web"), namespace="web", egress=[])) == ["near"]
    assert told(near, DENY, policy("deny", select(app="cron"), namespace="web", egress=[])) == []


def test_an_address_denies_nothing() -> None:
    outside = policy("outside", select(app="api"), ingress=[rule(pods(app="web")), rule(block("10.0.0.0/8"))])
    assert told(outside, DENY) == []


def test_what_changes_no_side_is_redundant_instead() -> None:
    wide = policy("wide", select(app="api"), ingress=[rule(pods(app="web"))])
    assert told(OPENED, wide, policy("deny-egress", egress=[])) == ["wide"]


def test_what_a_policy_closes_alone() -> None:
    everyone = [rule(block("0.0.0.0/0"), block("::/0"), pods(select(tier="front")))]
    space = listed("shop", tier="back")
    closed = policy("closed", egress=everyone)
    assert told(closed, policy("deny", ingress=[]), space) == [], "it closes what other namespaces let in"
    some_closed = policy("closed", egress=[rule(block("0.0.0.0/0"), block("::/0"), pods(_not_named("shop")))])
    assert told(some_closed, policy("deny", ingress=[]), space) == ["closed"]
    assert told(some_closed, policy("deny", select(app="api"), ingress=[]), space) == [], "other pods of `shop` let in"


def test_sides_that_open_together() -> None:
    elsewhere = rule(block("0.0.0.0/0"), block("::/0"), pods(_not_named("shop")))
    both = policy("both", ingress=[elsewhere], egress=[elsewhere])
    assert told(both) == [], "both ends deny with it, and neither without"


def test_effort() -> None:
    answers = list(SymbolicEngine(program(OPENED, DENY), effort=1).unfelt())
    assert [(type(one), one.policy.name) for one in answers] == [(NotDecided, "deny"), (NotDecided, "opened")]
