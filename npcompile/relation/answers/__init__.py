"""The answers to the questions of `npcompile.questions`, one a file.

Each takes the `Inventory`, a relation and what makes examples of it, and yields in the order of answers.
"""
