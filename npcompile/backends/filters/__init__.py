"""What the targets that are packet filters share: profiles, sets, names, and what the rules of a policy ask.

A target of this kind lowers a program in two steps.  The first is here and has no syntax: who is isolated by what, and
which alternatives of peers and ports each rule allows.  The second is the target's own: chains and dispatch.
"""
