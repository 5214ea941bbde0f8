"""`python -m npcompile`."""

from npcompile.cli import main

if __name__ == "__main__":
    main()
