"""What is wrong with a policy is said at its place, once, with what to do; and a policy means what the API says."""

from __future__ import annotations

import pytest

from npcompile.ir.printer import peer_text, port_item_text, selector_text
from tests.unit.frontend.reading import HEAD, policies, refusal, refused, said, with_spec

WRONG = [  # (spec, place and message, help)
    ("{podSelectr: {}}", "4:8 NPC006 unknown field `podSelectr` in `spec`", "did you mean `podSelector`?"),
    ("{PodSelector: {}}", "4:8 NPC006 unknown field `PodSelector` in `spec`", "did you mean `podSelector`?"),
    ("{foo: 1}", "4:8 NPC006 unknown field `foo` in `spec`",
     "the fields here are `egress`, `ingress`, `podSelector`, `policyTypes`"),
    ("{podSelector: {}, podSelector: {}}", "4:25 NPC007 duplicate key `podSelector`", "keep one of the two"),
    ("{podSelector: web}", "4:21 NPC008 `spec.podSelector` must be an object, not the string `web`", ""),
    ("{podSelector: [a]}", "4:21 NPC008 `spec.podSelector` must be an object, not a list", ""),
    ("{podSelector: {matchLabels: {app: 1}}}",
     "4:41 NPC008 `spec.podSelector.matchLabels.app` must be a string, not the number `1`", 'quote it: `"1"`'),
    ("{podSelector: {matchLabels: {app: yes}}}",
     "4:41 NPC008 `spec.podSelector.matchLabels.app` must be a string, not the boolean `yes`", 'quote it: `"yes"`'),
    ("{podSelector: {matchLabels: {a b: x}}}",
     "4:36 NPC008 label key `a b` in `spec.podSelector.matchLabels`: it may hold letters, digits, `-`, `_` and `.`, "
     "and starts and ends with a letter or digit", ""),
    ("{podSelector: {matchLabels: {~: x}}}", "4:36 NPC008 `~` cannot be a key", "quote it if it was meant as text"),
    ("{podSelector: {matchExpressions: [{key: a, operator: in, values: [b]}]}}",
     "4:60 NPC008 `spec.podSelector.matchExpressions[0].operator` must be one of `In`, `NotIn`, `Exists`, "
     "`DoesNotExist`, not `in`", "did you mean `In`?"),
    ("{podSelector: {matchExpressions: [{key: a, operator: In}]}}",
     "4:60 NPC008 `spec.podSelector.matchExpressions[0]`: operator `In` needs `values`", ""),
    ("{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}",
     "4:77 NPC008 `spec.podSelector.matchExpressions[0]`: operator `Exists` takes no `values`", ""),
    ("{podSelector: {matchExpressions: [{operator: Exists}]}}",
     "4:41 NPC008 `spec.podSelector.matchExpressions[0].key` is required", ""),
    ("{policyTypes: [ingress]}", "4:22 NPC008 `spec.policyTypes[0]` must be one of `Ingress`, `Egress`, not `ingress`",
     "did you mean `Ingress`?"),
    ("{policyTypes: Ingress}", "4:21 NPC008 `spec.policyTypes` must be a list, not the string `Ingress`", ""),
    ("{policyTypes: [Ingress, Egress, Ingress]}",
     "4:39 NPC008 `spec.policyTypes` may not have more than two entries", ""),
    ("{ingress: {from: []}}", "4:17 NPC008 `spec.ingress` must be a list, not an object", "start each item with `- `"),
    ("{ingress: [{to: []}]}", "4:19 NPC006 unknown field `to` in `spec.ingress[0]`",
     "the fields here are `from`, `ports`"),
    ("{ingress: [{from: [{}]}]}",
     "4:26 NPC008 `spec.ingress[0].from[0]` is empty: a peer needs `podSelector`, `namespaceSelector` or `ipBlock`",
     "to match everything, leave the whole list out"),
    ("{ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}",
     "4:26 NPC008 `spec.ingress[0].from[0]` has `ipBlock` beside `podSelector`",
     "make them two items of the list: either may then match"),
    ("{ingress: [{from: [{ipBlock: {}}]}]}", "4:36 NPC008 `spec.ingress[0].from[0].ipBlock.cidr` is required", ""),
    ("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]}",
     "4:43 NPC008 `spec.ingress[0].from[0].ipBlock.cidr` must be a CIDR such as `10.0.0.0/8` or `2001:db8::/32`, not "
     "`10.0.0.1`", ""),
    ("{egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}",
     "4:61 NPC008 `spec.egress[0].to[0].ipBlock.except[0]`: `10.0.0.0/8` must lie strictly inside `cidr` "
     "(`10.0.0.0/8`)",
     "`except` takes addresses out of this `cidr` only; it denies nothing"),
    ("{egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: ['fd00::/16']}}]}]}",
     "4:61 NPC008 `spec.egress[0].to[0].ipBlock.except[0]`: `fd00::/16` must lie strictly inside `cidr` "
     "(`10.0.0.0/8`)",
     "`except` takes addresses out of this `cidr` only; it denies nothing"),
    ("{egress: [{to: [{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}]}]}",
     "4:40 NPC008 `spec.egress[0].to[0].ipBlock.cidr`: `::ffff:10.0.0.0/104` is an IPv4-mapped IPv6 block, which "
     "network plugins read differently", "write `10.0.0.0/8`"),
    ("{ingress: [{ports: 80}]}", "4:26 NPC008 `spec.ingress[0].ports` must be a list, not the number `80`", ""),
    ("{ingress: [{ports: [80]}]}",
     "4:27 NPC008 `spec.ingress[0].ports[0]` must be an object with `protocol`, `port` "
     "and `endPort`, not the number `80`", ""),
    ("{ingress: [{ports: [{port: '80'}]}]}",
     "4:34 NPC008 `spec.ingress[0].ports[0].port`: `80` is no port name: a port name needs a letter",
     "for the number, write it without quotes: `80`"),
    ("{ingress: [{ports: [{port: 0}]}]}",
     "4:34 NPC008 `spec.ingress[0].ports[0].port`: `0` is no port: it must be between 1 and 65535", ""),
    ("{ingress: [{ports: [{port: true}]}]}",
     "4:34 NPC008 `spec.ingress[0].ports[0].port` must be an integer, not the boolean `true`", ""),
    ("{ingress: [{ports: [{port: !!int x}]}]}", "4:34 NPC008 `x` is not what its tag `!!int` says", ""),
    ("{ingress: [{ports: [{protocol: tcp}]}]}",
     "4:38 NPC008 `spec.ingress[0].ports[0].protocol` must be one of `TCP`, `UDP`, `SCTP`, not `tcp`",
     "did you mean `TCP`?"),
    ("{ingress: [{ports: [{endPort: 90}]}]}",
     "4:37 NPC008 `spec.ingress[0].ports[0].endPort` needs `port`, the first of the range", ""),
    ("{ingress: [{ports: [{port: http, endPort: 90}]}]}",
     "4:49 NPC008 `spec.ingress[0].ports[0].endPort` needs a numeric `port`, not the name `http`", ""),
    ("{ingress: [{ports: [{port: 90, endPort: 80}]}]}",
     "4:47 NPC008 `spec.ingress[0].ports[0].endPort`: `80` must not be less than `port` (90)", ""),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "error", "advice"), WRONG)
def test_one_mistake_has_one_message_at_its_place(spec: str, error: str, advice: str) -> None:
    assert refused(with_spec(spec)) == [error]
    assert refusal(with_spec(spec))[0].help == advice


METADATA = [  # (metadata, place and message)
    ("{}", "3:11 NPC008 `metadata.name` is required"),
    ("", "3:1 NPC008 `metadata.name` is required"),
    ("text", "3:11 NPC008 `metadata` must be an object, not the string `text`"),
    ("{name: }", "3:12 NPC008 `metadata.name` is required"),
    ("{name: 1}", "3:18 NPC008 `metadata.name` must be a string, not the number `1`"),
    ("{generateName: p-}", "3:26 NPC008 a policy needs a `name`: `kubectl apply` refuses `generateName` alone"),
    ("{name: p, namespace: A}",
     "3:32 NPC008 namespace `A`: it may hold lowercase letters, digits and `-`, and starts "
     "and ends with a letter or digit"),
    ("{name: p, annotations: {a: 1}}", "3:38 NPC008 `metadata.annotations.a` must be a string, not the number `1`"),
    ("{name: p, finalizers: [a]}", "3:34 NPC008 finalizer `a`: it needs a domain, as in `example.com/cleanup`"),
    ("{name: p, creationTimestamp: now}",
     "3:40 NPC008 `metadata.creationTimestamp` must be a time such as `2024-01-31T12:00:00Z`, not `now`"),
    ("{name: p, ownerReferences: [{apiVersion: v1, kind: Pod, name: p}]}",
     "3:39 NPC008 `metadata.ownerReferences[0].uid` is required"),
]  # fmt: skip


@pytest.mark.parametrize(("metadata", "error"), METADATA)
def test_metadata(metadata: str, error: str) -> None:
    assert refused(f"{HEAD}metadata: {metadata}\nspec: {{podSelector: {{}}}}\n") == [error]


def test_every_mistake_of_a_policy_is_said_at_once() -> None:
    spec = "{podSelectr: {}, ingress: [{from: [{}], ports: [{port: 0}, {protocol: x}]}], policyTypes: [a, b, c]}"
    assert [error.split(" ")[0] for error in refused(with_spec(spec))] == [
        "4:8", "4:42", "4:62", "4:77", "4:98", "4:101", "4:104", "4:104"
    ]  # fmt: skip


def test_the_longest_name() -> None:
    name = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert len(name) == 253
    assert policies(with_spec("{}").replace("name: p", f"name: {name}"))[0].name == name
    assert refused(with_spec("{}").replace("name: p", f"name: {name}a")) != []


def test_a_mistake_in_an_anchor_is_said_where_it_stands() -> None:
    spec = "{podSelector: &s {matchLabels: {a: 1}}, ingress: [{from: [{podSelector: *s}]}]}"
    assert {error.split(" ")[0] for error in refused(with_spec(spec))} == {"4:42"}


def test_status_of_an_exported_policy() -> None:
    assert said(with_spec("{}") + "status: {}\n") == [
        "5:1 NPC013 `status` is no field of a NetworkPolicy any more, and has no effect"
    ]


def test_leading_zeros_of_a_cidr() -> None:
    text = with_spec("{ingress: [{from: [{ipBlock: {cidr: 010.0.0.0/08, except: [10.1.0.0/016]}}]}]}")
    assert [line.split(" ")[:2] for line in said(text)] == [["4:43", "NPC015"], ["4:66", "NPC015"]]
    (policy,) = policies(text)
    assert peer_text(policy.rules[0].match.peers[0]) == "10.0.0.0/8 except 10.1.0.0/16"


@pytest.mark.parametrize(
    ("cidr", "meant"),
    [("10.1.2.3/8", "10.0.0.0/8"), ("FD00::1/16", "fd00::/16"), ("'::ffff:10.0.0.0/8'", "::/8"), ("'::/0'", "::/0"),
     ("'::ffff:1:0:0/96'", "::ffff:1:0:0/96"), ("'::10.0.0.9/120'", "::a00:0/120")],
)  # fmt: skip
def test_blocks(cidr: str, meant: str) -> None:
    (policy,) = policies(with_spec(f"{{ingress: [{{from: [{{ipBlock: {{cidr: {cidr}}}}}]}}]}}"))
    assert peer_text(policy.rules[0].match.peers[0]) == meant


def test_what_a_policy_means() -> None:
    (policy,) = policies(
        with_spec(
            "{podSelector: {matchLabels: {b: x}, matchExpressions: [{key: a, operator: NotIn, values: [z, w, z]}]}, "
            "ingress: [{ports: [{port: 80}, {port: 80, endPort: 90, protocol: UDP}, {protocol: SCTP}, {port: http}, "
            "{}]}], "
            "egress: [{to: [{namespaceSelector: {}}, {podSelector: {}}]}]}"
        )
    )
    assert selector_text(policy.subjects) == "a notin (w,z),b=x"
    assert {str(direction) for direction in policy.directions} == {"ingress", "egress"}
    assert [port_item_text(item) for item in policy.rules[0].match.ports] == [
        "tcp/80",
        "udp/80-90",
        "sctp",
        "tcp/http",
        "tcp",
    ]
    assert [peer_text(peer) for peer in policy.rules[1].match.peers] == [
        "every pod in every namespace", "every pod in its own namespace"
    ]  # fmt: skip


def test_rules_of_a_direction_that_is_left_out_are_inactive() -> None:
    (policy,) = policies(with_spec("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}"))
    assert (policy.rules, len(policy.inactive)) == ((), 1)


def test_a_label_without_a_value_is_empty_and_a_warning() -> None:
    text = with_spec("{podSelector: {matchLabels: {app: }}}")
    assert [line.split(" ")[:2] for line in said(text)] == [["4:41", "NPC017"]]
    (policy,) = policies(text)
    assert selector_text(policy.subjects) == "app="
