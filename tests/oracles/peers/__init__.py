"""Two other programs' views of what manifests allow, to compare npcompile's with.  docs/peers.md has the words."""
