"""Targets: each lowers the IR to its own structure and emits that as text or bytes."""
