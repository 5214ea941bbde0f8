"""What is asked about a program: traces, checks, maps."""
