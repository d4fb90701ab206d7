"""``python -m stream columns``: the column tables as Markdown."""

import argparse
import sys

from stream.column_table import markdown


def main() -> int:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m stream", description="What the kernels know, in print.")
    parser.add_argument("command", choices=["columns"], help="columns: the tables of stream/README.md")
    parser.parse_args()
    print(markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
