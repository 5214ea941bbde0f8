"""What to say where a sentence goes wrong: what could stand there, in words, and what was probably meant."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Set

_FORMS = ("deny", "allow", "only", "isolated", "let")

ENDPOINTS = (
    "an endpoint is `*`, `world`, `node`, `ns:NAME`, `ns:NAME/key=value`, `ns(…)`, `pod(…)`, an address, a CIDR or "
    "`@name`"
)
PORTS = "a port is `tcp/8080`, `tcp/80-443`, `udp/53`, `sctp/99`, `tcp` (every port) or `icmp`"
LABELS = (
    "a condition on labels is `key=value`, `key!=value`, `key in (a, b)`, `key notin (a, b)`, `key` or `!key`; "
    "join them with `&` and `|`"
)

# What can stand at a place: some terminal of the parser's, in words, and what to write.  The first that fit are told.
_WORDS: tuple[tuple[str, str, str], ...] = (
    ("_DENY", "a sentence", "a sentence begins with `deny`, `allow`, `only`, `isolated` or `let`"),
    ("NS_NAME", "an endpoint", ENDPOINTS),
    ("_ARROW", "`->`", "write the source, `->` and the destination: `deny world -> ns:production`"),
    ("_MAY", "`may reach`", "write `only A may reach B on tcp/5432`"),
    ("_REACH", "`reach`", "write `only A may reach B on tcp/5432`"),
    ("DIRECTION", "`ingress` or `egress`", "write `isolated ns:NAME ingress`"),
    ("KEY", "a label", LABELS),
    ("VALUE", "a value", 'a value has letters, digits, `-`, `_` and `.`; the empty one is `""`'),
    ("PORT", "a port", PORTS),
    (
        "WORD",
        "a name",
        "a name has letters, digits, `-` and `_`: `let db = ns:data/app=postgres`, `[severity=warning]`",
    ),
    ("_IN", "`=`, `!=`, `in`, `notin`", LABELS),
    ("_EQUALS", "`=`", "write `let db = ns:data/app=postgres`, `[severity=warning]`"),
    ("_COLON", "`:`", 'a name stands before its sentence: `"db is sealed": deny …`'),
    ("_LPAR", "`(`", "write the values in parentheses: `key in (a, b)`"),
    ("_ON", "`on`", PORTS),
    ("_EXCEPT", "`except`", "write `except A -> B on tcp/8080`"),
    ("_LSQB", "`[`", "attributes are `[severity=warning, until=2027-01-31]`"),
    ("_RPAR", "`)`", ""),
    ("_RSQB", "`]`", "attributes are `[severity=warning, until=2027-01-31]`"),
    ("$END", "the end of the sentence", ""),
)
_BEHIND = {
    "_ON": "`on tcp/8080` limits ports",
    "_EXCEPT": "`except A -> B` takes flows out",
    "_LSQB": "`[severity=warning]` comes last",
}
_MEANT = {
    "any": "`*` is every pod and the world",
    "all": "`*` is every pod and the world",
    "everyone": "`*` is every pod and the world",
    "anywhere": "`*` is every pod and the world",
    "pod": "write `pod()` for every pod, or `pod(key=value)`",
    "pods": "write `pod()` for every pod, or `pod(key=value)`",
    "internet": "write `world`: every address that is no pod's and no node's",
    "external": "write `world`: every address that is no pod's and no node's",
    "outside": "write `world`: every address that is no pod's and no node's",
    "nodes": "write `node`: the addresses of nodes",
    "host": "write `node`: the addresses of nodes",
    "not": "write `!` for not",
    "and": "write `&` for and",
    "or": "write `,` or `|` for or",
}
_WORD_AT = re.compile(r'"[^"\r\n]*"?|[^\s,()\[\]&|"#]+|.', re.DOTALL)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ENDPOINT = "NS_NAME"


def said(accepted: Set[str], text: str, at: int) -> tuple[int, str, str]:
    """How long the wrong piece is, the message, and what to do, where one of some terminals was expected."""
    found = _WORD_AT.match(text, at)
    piece = found[0] if found else ""
    open_ = accepted - {"_EQUALS"} if "_IN" in accepted else accepted
    choices = [(word, advice) for terminal, word, advice in _WORDS if terminal in open_]
    if len(choices) > 1 and _ENDPOINT in accepted:
        choices = choices[:1]
    words = _listed([word for word, _ in choices])
    behind = ", ".join(advice for terminal, advice in _BEHIND.items() if terminal in accepted)
    usual = behind if "$END" in accepted else choices[0][1] if choices else ""
    advice = _meant(accepted, piece, text[at:]) or usual
    return len(piece), f"expected {words}, found {_described(piece)}", advice


def _listed(words: list[str]) -> str:
    if len(words) < 2:
        return "".join(words) or "something else"
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _described(piece: str) -> str:
    if not piece:
        return "the end of the sentence"
    shown = piece if len(piece) <= 40 else f"{piece[:37]}..."
    odd = next((one for one in shown if not one.isprintable() or (one.isspace() and one != " ")), None)
    if odd is not None:
        name = unicodedata.name(odd, "a control character").lower()
        return f"U+{ord(odd):04X} ({name})"
    return f"`{shown}`"


def _meant(accepted: Set[str], piece: str, rest: str) -> str:
    """What was probably meant by a piece, with which the rest of the text begins; empty where nobody can tell."""
    if piece.isspace() or not piece.isprintable():
        return "separate words with plain blanks" if piece.isspace() else ""
    if piece.startswith('"') and piece.count('"') == 1:
        return "the quotation mark is not closed on its line"
    if "_DENY" in accepted:
        close = difflib.get_close_matches(piece.lower(), _FORMS, n=1)
        return f"did you mean `{close[0]}`?" if close else ""
    if piece in ("=>", "→", "to", "-->", "–>") and "_ARROW" in accepted:
        return "write `->` between source and destination"
    if _ENDPOINT in accepted:
        return _meant_endpoint(piece, rest)
    if piece == "*" and "_SLASH" in accepted:
        return "write `pod()` for the pods of every namespace, `pod(key=value)` for some of them"
    if "*" in piece and accepted & {"VALUE", "_EQUALS", "_AND", "KEY"}:
        return "labels are compared whole: list the values with `key in (a, b)`, or write `key` for any value"
    if "=" in piece and "_SLASH" in accepted:
        return f"write `ns:NAME/{piece}`, without a blank, or `ns:NAME/(… & {piece})`"
    if piece == "," and "_AND" in accepted:
        return "write `&` where both must hold, `|` where one is enough"
    if piece.lower() in ("port", "ports", "tcp", "udp") or piece.startswith((":", "tcp/", "udp/")):
        return "write `on tcp/8080`" if "_ON" in accepted else ""
    if piece in ("on", "except") and "$END" in accepted:
        return _meant_behind(accepted, piece)
    if piece in _FORMS and rest[len(piece) :][:1].isspace() and "$END" in accepted:
        return "a sentence begins its own line, indented no deeper than the one before"
    return _MEANT.get(piece.lower(), "") if "$END" not in accepted or piece in ("and", "or") else ""


def _meant_behind(accepted: Set[str], piece: str) -> str:
    """Of a part that cannot stand at the end of this sentence."""
    if piece == "except":
        return "only `deny` and `allow` have exceptions; beside `only A may reach B`, write `deny * -> B except A -> B`"
    if "_COMMA" in accepted:
        return "write all ports after one `on`: `on tcp/80, udp/53`"
    return "leave it out: isolation is of every port"


def _meant_endpoint(piece: str, rest: str) -> str:
    if found := re.match(r"pods?:([-a-z0-9]*)", rest):
        return f"write `pod(key=value)` for pods by their labels, `ns:{found[1] or 'NAME'}` for those of a namespace"
    name, slash, label = piece.partition("/")
    if slash and _NAME.fullmatch(name) and label:
        return f"write `ns:{name}/…` for pods of the namespace `{name}`, as `ns:{name}/key=value`"
    if "=" in piece:
        return f"write `pod({piece})`, or `ns:NAME/(… & {piece})` for pods of one namespace"
    if piece.lower() in _MEANT:
        return _MEANT[piece.lower()]
    if piece.isdecimal():
        return ENDPOINTS
    if _NAME.fullmatch(piece) and piece not in (*_FORMS, "on", "except", "may", "reach", "ingress", "egress"):
        return f"write `ns:{piece}` for the pods of the namespace `{piece}`, `@{piece}` for what `let {piece} = …` says"
    return ""
