"""One use case a file: the stages wired together, and all file I/O."""
