"""The entry point: imports every group of commands, which registers them."""

from hyperadapters.cli import answering, listing, running, sweeping  # noqa: F401
from hyperadapters.cli.base import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
