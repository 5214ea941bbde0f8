"""Exact sets of ports and of addresses: pure values."""
