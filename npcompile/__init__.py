"""npcompile: compile Kubernetes NetworkPolicy to kernel packet filters, and prove what was emitted."""

__version__ = "0.1.0"
