"""One rule a file.  A rule's module docstring is its documentation, and `RULE` its identity."""
