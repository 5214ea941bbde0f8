"""What acts on a Linux machine: artifacts brought into its kernel, and clusters of namespaces to try them in."""
