"""The entry point: imports every group of commands, which registers them."""

from hyperadapters.cli import running, answering, sweeping, listing, costing  # noqa: F401, I001 (in the order of --help)
from hyperadapters.cli.base import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
