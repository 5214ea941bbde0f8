"""What is assumed of every pod and namespace that could exist, in words; `assume` makes terms of it.

A finding about every such pod holds under `ASSUMPTIONS`: the machine formats give them with each, the full format says
them in short.
"""

from __future__ import annotations

ASSUMPTIONS = (
    "a namespace of the input has exactly the labels that the input gives it",
    "any other namespace may exist, with any labels; the label `kubernetes.io/metadata.name` is always its name",
    "a pod may have any labels, declare any numbers under any port name, and have any address or none yet",
    "the two ends of a flow are different; a pod on its node's network is an address, and a pod's own node is left out",
)

COMPARED = (
    "every pod is the same in both versions, and so are the labels of a namespace that neither version lists",
    "a namespace that one version lists has any labels in the other",
)
"""What is assumed beside `ASSUMPTIONS` when two versions are compared."""
