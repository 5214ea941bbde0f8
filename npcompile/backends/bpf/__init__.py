"""The target `bpf`: lowering to identities, rulesets and peer classes, and the entries of the datapath's maps."""

from npcompile.backends.bpf.target import BpfTarget

__all__ = ["BpfTarget"]
