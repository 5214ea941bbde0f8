"""Each question on planted cases."""

from __future__ import annotations

from dataclasses import replace

from npcompile.ir.labels import EVERYTHING
from npcompile.ir.policy import PodPeer
from npcompile.questions import NotDecided, Shadowed
from npcompile.relation.engine import RelationEngine
from tests.unit.relation.building import (
    ANY_POD,
    EGRESS,
    INGRESS,
    block,
    named,
    near,
    pod,
    policy,
    program,
    replay,
    rule,
    select,
    tcp,
    udp,
)

WEB, API, DB = (
    pod("a/web", "10.0.0.1", app="web"),
    pod("a/api", "10.0.0.2", app="api", ports={"http": 8080}),
    pod("b/db", "10.0.0.3", app="db"),
)
PODS = (WEB, API, DB)


class TestShadowed:
    def test_of_duplicates_the_first_stays(self) -> None:
        of = program([policy(name, ingress=[rule(near(app="web"), on=[tcp(80)])]) for name in ("p1", "p2", "p3")], PODS)
        answers = list(RelationEngine(of).shadowed())
        assert [(one.subject.policy.name, [c.policy.name for c in one.cover]) for one in _all(answers)] == [
            ("p2", ["p1"]),
            ("p3", ["p1"]),
        ]
        assert replay(of, _all(answers)[0].example) == ("a/web -> a/api tcp/80", True, True)

    def test_a_union_covers_and_is_made_irredundant(self) -> None:
        web, api = rule(near(app="web"), on=[tcp(80)]), rule(near(app="api"), on=[tcp(80)])
        extra = rule(near(app="web"), on=[tcp(80, 81)])
        of = program([policy("p", ingress=[web, api, extra, rule(near(), on=[tcp(80)])])], PODS)
        answers = _all(RelationEngine(of).shadowed())
        assert [(one.subject.rule.index, [c.rule.index for c in one.cover]) for one in answers] == [
            (0, [2]),
            (3, [1, 2]),
        ]

    def test_the_first_rule_that_suffices_alone_is_named(self) -> None:
        rules = [rule(ANY_POD), rule(near()), rule(near(app="web"))]
        of = program([policy("p", ingress=rules)], PODS)
        answers = _all(RelationEngine(of).shadowed())
        assert [(one.subject.rule.index, [c.rule.index for c in one.cover]) for one in answers] == [(1, [0]), (2, [0])]

    def test_a_named_port_is_its_number(self) -> None:
        of = program(
            [policy("p", subjects=select(app="api"), ingress=[rule(on=[tcp(8080)]), rule(on=[named("http")])])], PODS
        )
        assert [one.subject.rule.index for one in _all(RelationEngine(of).shadowed())] == [1]

    def test_other_subjects_directions_and_namespaces_do_not_cover(self) -> None:
        same = [rule(near(app="web"), on=[tcp(80)])]
        of = program(
            [
                policy("p1", subjects=select(app="api"), ingress=same),
                policy("p2", ingress=same),
                policy("p3", egress=same),
                policy("p4", ingress=[rule(ANY_POD, on=[tcp(80)])], namespace="b"),
            ],
            PODS,
        )
        assert [one.subject.policy.name for one in _all(RelationEngine(of).shadowed())] == ["p1"]

    def test_two_halves_of_the_internet_cover_it_but_for_the_other_family(self) -> None:
        halves = [rule(block("0.0.0.0/1")), rule(block("128.0.0.0/1")), rule(block("0.0.0.0/0"))]
        single = program([policy("p", egress=[*halves, rule()])], PODS)
        answers = _all(RelationEngine(single).shadowed())
        # The whole is one with the halves, and rather than both of them it stays the single cover of the rest.
        assert [one.subject.rule.index for one in answers] == [2, 3]
        assert [c.rule.index for c in answers[0].cover] == [0, 1]
        dual = program([policy("p", egress=[*halves, rule()])], [pod("a/web", "10.0.0.1", "fd00::1", app="web")])
        assert [one.subject.rule.index for one in _all(RelationEngine(dual).shadowed())] == [0, 1, 2]

    def test_a_flow_of_a_pod_to_itself_is_the_last_resort(self) -> None:
        same = rule(near(app="web"))
        of = program([policy("p", subjects=select(app="web"), ingress=[same, same])], PODS)
        (answer,) = _all(RelationEngine(of).shadowed())
        assert replay(of, answer.example) == ("a/web -> a/web tcp/1", True, True)

    def test_too_little_effort_is_not_an_answer(self) -> None:
        rules = [rule(near(app="web")), rule(near(app="api")), rule(near())]
        of = program([policy("p", ingress=rules)], PODS)
        answers = list(RelationEngine(of, pieces=1).shadowed())
        assert any(isinstance(one, NotDecided) and one.question == "shadowed" for one in answers)


def _all(answers: object) -> list[Shadowed]:
    assert not isinstance(answers, Shadowed)
    found = list(answers)  # type: ignore[call-overload]
    assert all(isinstance(one, Shadowed) for one in found)
    return found


class TestVacuous:
    def test_policies_without_subjects_and_rules_without_peers(self) -> None:
        of = program(
            [
                policy("nobody", subjects=select(app="gone"), ingress=[rule()]),
                policy(
                    "rules",
                    egress=[
                        rule(near(app="gone")),
                        rule(near(app="api"), on=[named("http")]),
                        rule(near(app="web"), on=[named("http")]),
                        rule(block("192.0.2.1/32")),
                        rule(block("fd00::/64")),
                        rule(block("192.0.2.0/24"), on=[named("http")]),
                    ],
                ),
            ],
            PODS,
        )
        answers = [one for one in RelationEngine(of).vacuous() if not isinstance(one, NotDecided)]
        assert [(one.policy.name, one.rule and one.rule.index) for one in answers] == [
            ("nobody", None),
            ("rules", 0),
            ("rules", 2),
            ("rules", 5),
        ]

    def test_host_network_pods_are_never_subjects(self) -> None:
        of = program([policy("p", ingress=[])], [pod("a/agent", "10.9.0.1", node="n1", host_network=True)])
        assert [one.rule for one in RelationEngine(of).vacuous() if not isinstance(one, NotDecided)] == [None]


class TestHalfOpen:
    def test_the_destination_denies_some_ports(self) -> None:
        of = program(
            [
                policy("out", subjects=select(app="web"), egress=[rule(near(app="api"), on=[tcp(80), tcp(81)])]),
                policy("in", subjects=select(app="api"), ingress=[rule(on=[tcp(80)])]),
            ],
            PODS,
        )
        (answer,) = (one for one in RelationEngine(of).half_open() if not isinstance(one, NotDecided))
        assert (answer.opener.policy.name, answer.port, answer.blocker.name, answer.fully) == (
            "out",
            tcp(81),
            "in",
            True,
        )
        assert replay(of, answer.example) == ("a/web -> a/api tcp/81", True, False)

    def test_some_ports_of_one_item(self) -> None:
        policies = [
            policy("out", subjects=select(app="web"), egress=[rule(near(app="api"), on=[tcp(80, 82)])]),
            policy("in", subjects=select(app="api"), ingress=[rule(on=[tcp(80)]), rule(near(app="web"), on=[tcp(81)])]),
        ]
        of = program(policies, PODS)
        (answer,) = (one for one in RelationEngine(of).half_open() if not isinstance(one, NotDecided))
        assert (answer.port, answer.fully) == (tcp(80, 82), False)
        assert replay(of, answer.example) == ("a/web -> a/api tcp/82", True, False)

    def test_several_rules_of_the_destination_together(self) -> None:
        policies = [
            policy("out", subjects=select(app="web"), egress=[rule(near(app="api"), on=[tcp(80, 82)])]),
            policy("in", ingress=[rule(on=[tcp(80)]), rule(near(app="web"), on=[tcp(81)])]),
            policy("more", subjects=select(app="api"), ingress=[rule(near(), on=[tcp(82)])]),
        ]
        assert list(RelationEngine(program(policies, PODS)).half_open()) == []

    def test_two_blockers_are_two_answers(self) -> None:
        policies = [
            policy("out", subjects=select(app="web"), egress=[rule(near(app="api"), on=[tcp(80), named("http")])]),
            policy("in-1", subjects=select(app="api", v="1"), ingress=[]),
            policy("in-2", subjects=select(app="api", v="2"), ingress=[]),
        ]
        first = pod("a/api-1", "10.0.0.7", app="api", v="1")
        second = pod("a/api-2", "10.0.0.8", app="api", v="2", ports={"http": 8080})
        of = program(policies, [first, second, WEB])
        answers = [one for one in RelationEngine(of).half_open() if not isinstance(one, NotDecided)]
        assert [(one.port, one.blocker.name, one.fully) for one in answers] == [
            (tcp(80), "in-1", True),
            (named("http"), "in-2", True),
        ]

    def test_one_answer_for_a_rule_that_is_dead_by_one_policy(self) -> None:
        of = program(
            [
                policy("out", subjects=select(app="web"), egress=[rule(near(), on=[tcp(80), tcp(81)])]),
                policy("in", ingress=[]),
            ],
            PODS,
        )
        (answer,) = (one for one in RelationEngine(of).half_open() if not isinstance(one, NotDecided))
        assert (answer.port, answer.blocker.name, answer.fully) == (None, "in", True)
        assert replay(of, answer.example) == ("a/web -> a/api tcp/80", True, False)

    def test_the_source_denies(self) -> None:
        of = program(
            [
                policy("in", ingress=[rule(ANY_POD)]),
                policy("deny", subjects=select(app="db"), egress=[], namespace="b"),
            ],
            PODS,
        )
        (answer,) = (one for one in RelationEngine(of).half_open() if not isinstance(one, NotDecided))
        assert (answer.opener.policy.name, answer.blocker.name, answer.fully) == ("in", "deny", False)
        assert replay(of, answer.example) == ("b/db -> a/api tcp/1", False, True)

    def test_addresses_outside_let_everything_pass(self) -> None:
        policies = [policy("out", egress=[rule(block("0.0.0.0/0"))]), policy("in", ingress=[])]
        of = program(policies, [WEB, API])
        (answer,) = (one for one in RelationEngine(of).half_open() if not isinstance(one, NotDecided))
        assert not answer.fully

    def test_a_pod_alone_with_itself_is_not_half_open(self) -> None:
        of = program([policy("p", egress=[rule(near())], ingress=[])], [WEB])
        assert list(RelationEngine(of).half_open()) == []

    def test_two_pods_of_one_template_are_two(self) -> None:
        template = replace(pod("a/web", app="web"), template=True)
        of = program([policy("p", egress=[rule(near())], ingress=[])], [template])
        (answer,) = (one for one in RelationEngine(of).half_open() if not isinstance(one, NotDecided))
        assert replay(of, answer.example) == ("a/web -> a/web tcp/1", True, False)
        assert answer.fully
        of = program([policy("p", egress=[rule(near())])], [template])
        assert list(RelationEngine(of).half_open()) == []
        assert len(list(RelationEngine(of).dns_blocked())) == 0
        of = program([policy("p", egress=[rule(near(), on=[tcp(80)])])], [template])
        assert len(list(RelationEngine(of).dns_blocked())) == 1

    def test_its_own_node_does_not_keep_a_rule_alive(self) -> None:
        web = pod("a/web", "10.0.0.1", node="n1", app="web")
        of = program(
            [
                policy("in", subjects=select(app="web"), ingress=[rule(block("10.9.0.1/32"), near(app="api"))]),
                policy("out", subjects=select(app="api"), egress=[]),
            ],
            [web, API],
            nodes={"n1": "10.9.0.1"},
        )
        (answer,) = (one for one in RelationEngine(of).half_open() if not isinstance(one, NotDecided))
        assert answer.fully
        elsewhere = program(of.policies, [replace(web, node="n2"), API], nodes={"n1": "10.9.0.1"})
        (answer,) = (one for one in RelationEngine(elsewhere).half_open() if not isinstance(one, NotDecided))
        assert not answer.fully


class TestUncovered:
    def test_namespaces_with_and_without_policies(self) -> None:
        of = program([policy("p", subjects=select(app="web"), ingress=[], egress=[])], PODS)
        answers = [one for one in RelationEngine(of).uncovered() if not isinstance(one, NotDecided)]
        assert [(one.namespace.name, one.direction, [p.name for p in one.pods]) for one in answers] == [
            ("a", INGRESS, ["api"]),
            ("a", EGRESS, ["api"]),
            ("b", INGRESS, ["db"]),
            ("b", EGRESS, ["db"]),
        ]
        assert replay(of, answers[0].example) == ("1.0.0.0 -> a/api tcp/1", True, True)
        assert replay(of, answers[3].example) == ("b/db -> 1.0.0.0 tcp/1", True, True)


class TestWaysIn:
    def test_pods_before_addresses_and_the_internet_apart(self) -> None:
        of = program(
            [
                policy(
                    "p", subjects=select(app="api"), ingress=[rule(), rule(near(app="web")), rule(near(app="gone"))]
                ),
                policy("quiet", subjects=select(app="web"), egress=[]),
            ],
            PODS,
        )
        (answer,) = (one for one in RelationEngine(of).ways_in() if not isinstance(one, NotDecided))
        assert answer.opener.rule.index == 0
        assert replay(of, answer.example) == ("b/db -> a/api tcp/1", True, True)
        assert replay(of, answer.internet) == ("1.0.0.0 -> a/api tcp/1", True, True)

    def test_the_first_subject_may_have_no_other_pod(self) -> None:
        of = program([policy("p", ingress=[rule(near(app="api"))])], [API, WEB])
        (answer,) = (one for one in RelationEngine(of).ways_in() if not isinstance(one, NotDecided))
        assert replay(of, answer.example) == ("a/api -> a/web tcp/1", True, True)

    def test_a_node_is_not_the_internet_and_its_own_needs_no_way(self) -> None:
        of = program(
            [policy("p", ingress=[rule(block("10.9.0.0/31"))])],
            [pod("a/web", "10.0.0.1", node="n1")],
            nodes={"n0": "10.9.0.0", "n1": "10.9.0.1"},
        )
        (answer,) = (one for one in RelationEngine(of).ways_in() if not isinstance(one, NotDecided))
        assert replay(of, answer.example) == ("10.9.0.0 -> a/web tcp/1", True, True)
        assert answer.internet is None


class TestDnsBlocked:
    def test_neither_or_udp_only(self) -> None:
        of = program(
            [
                policy("api", subjects=select(app="api"), egress=[rule(on=[tcp(443)])]),
                policy("web", subjects=select(app="web"), egress=[rule(on=[udp(53), tcp(443)])]),
                policy("db", subjects=select(app="db"), egress=[rule(on=[udp(53), tcp(53)])], namespace="b"),
            ],
            PODS,
        )
        answers = [one for one in RelationEngine(of).dns_blocked() if not isinstance(one, NotDecided)]
        assert [(one.policy.name, one.udp_allowed, [p.name for p in one.pods]) for one in answers] == [
            ("api", False, ["api"]),
            ("web", True, ["web"]),
        ]
        assert replay(of, answers[0].example) == ("a/api -> a/web udp/53", False, True)
        assert replay(of, answers[1].example) == ("a/web -> a/api tcp/53", False, True)

    def test_who_may_send_nothing_needs_no_names(self) -> None:
        of = program([policy("p", egress=[rule(near())])], [WEB])
        assert list(RelationEngine(of).dns_blocked()) == []


class TestSplitPeers:
    team = PodPeer(namespaces=select(team="one"), pods=EVERYTHING)
    pods = (*PODS, pod("b/web", "10.0.0.4", app="web"))

    def test_both_orders_and_what_would_be_lost(self) -> None:
        for peers in ((self.team, near(app="web")), (near(app="web"), self.team)):
            policies = [policy("p", subjects=select(app="api"), ingress=[rule(*peers, on=[tcp(80)])])]
            of = program(policies, self.pods, teams={"b": "one"})
            (answer,) = (one for one in RelationEngine(of).split_peers() if not isinstance(one, NotDecided))
            assert (answer.namespaces, answer.pods, answer.closes) == (self.team, near(app="web"), 2)
            assert replay(of, answer.example) == ("a/web -> a/api tcp/80", True, True)

    def test_not_where_both_would_match_nothing(self) -> None:
        policies = [policy("p", ingress=[rule(self.team, near(app="api"))])]
        of = program(policies, self.pods, teams={"b": "one"})
        assert list(RelationEngine(of).split_peers()) == []

    def test_pods_of_two_families_are_no_pair(self) -> None:
        others = (pod("a/web", "fd00::1", app="web"), pod("b/web", "10.0.0.4", app="web"), API)
        policies = [policy("p", subjects=select(app="api"), egress=[rule(self.team, near(app="web"))])]
        of = program(policies, (*others, DB), teams={"b": "one"})
        (answer,) = (one for one in RelationEngine(of).split_peers() if not isinstance(one, NotDecided))
        assert answer.closes == 1  # to b/db; a/web has no IPv4
