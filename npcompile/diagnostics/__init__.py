"""Diagnostics as data; text is made of them in `render` only."""
