"""The one thing that `-m bpf` may ask: whether a packet's source is its destination.

iptables has no match for that.  A program of classic BPF can compare the words of the two addresses in the packet's IP
header, which is where xt_bpf's offsets start.  Programs are not compared with known ones here but followed: what is
understood returns something other than 0 exactly when certain pairs of words are equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from npcompile.netset.cidrs import Family
from npcompile.readers.ipset_entries import number
from npcompile.readers.problems import RefusedError

MOST_INSTRUCTIONS = 64

# The offsets of the addresses' words in the fixed part of the IP header (RFC 791, RFC 8200).
_WORDS = {
    Family.V4: frozenset({frozenset({12, 16})}),
    Family.V6: frozenset(frozenset({8 + word, 24 + word}) for word in (0, 4, 8, 12)),
}


class _Code(IntEnum):
    """The instructions that are understood, by their codes in linux/bpf_common.h."""

    LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS: A = the 32 bits at offset k
    A_TO_X = 0x07  # BPF_MISC | BPF_TAX
    JUMP_IF_EQUAL = 0x1D  # BPF_JMP | BPF_JEQ | BPF_X: skip jt instructions if A == X, else jf
    RETURN = 0x06  # BPF_RET | BPF_K


@dataclass(frozen=True, slots=True, kw_only=True)
class _Instruction:
    code: int
    jt: int
    jf: int
    k: int


def compares_addresses(family: Family, text: str) -> None:
    """Return if `text`, as behind `--bytecode`, matches a packet iff its two addresses are equal; else Refused."""
    program = _parse(text)
    if _equal_words(program) != _WORDS[family]:
        raise RefusedError("`--bytecode` that compares something else than all words of the two addresses")


def _parse(text: str) -> list[_Instruction]:
    """`COUNT,CODE JT JF K,CODE JT JF K,...`"""
    count, *rest = text.split(",")
    if number(count, 1, MOST_INSTRUCTIONS) != len(rest):
        raise RefusedError("`--bytecode` does not have as many instructions as it says")
    program = []
    for item in rest:
        fields = item.split(" ")
        if len(fields) != 4:
            raise RefusedError(f"`{item}` is no instruction")
        code, jt, jf = (number(field, 0, limit) for field, limit in zip(fields, (0xFFFF, 0xFF, 0xFF), strict=False))
        program.append(_Instruction(code=code, jt=jt, jf=jf, k=number(fields[3], 0, 0xFFFF_FFFF)))
    if program[-1].code != _Code.RETURN:
        raise RefusedError("`--bytecode` of a program that does not end with a return")
    return program


def _equal_words(program: list[_Instruction]) -> frozenset[frozenset[int]]:
    """The pairs of offsets whose words are equal exactly when the program returns something other than 0.

    Follows the way on which every comparison succeeds; every other way must return 0 at once.
    """
    pairs: set[frozenset[int]] = set()
    a: int | None = None  # the offset of the word that the register holds
    x: int | None = None
    position = 0
    while position < len(program):
        step = program[position]
        position += 1
        match step.code:
            case _Code.LOAD_WORD:
                a = step.k
            case _Code.A_TO_X:
                x = a
            case _Code.JUMP_IF_EQUAL if a is not None and x is not None and _fails(program, position + step.jf):
                pairs.add(frozenset({a, x}))
                position += step.jt
            case _Code.RETURN if step.k:
                return frozenset(pairs)
            case _:
                break
    raise RefusedError("`--bytecode` of a program that is not understood")


def _fails(program: list[_Instruction], position: int) -> bool:
    return position < len(program) and (program[position].code, program[position].k) == (_Code.RETURN, 0)
