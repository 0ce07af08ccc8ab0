"""The entry point: imports every group of commands, which registers them."""

from hyperadapters.cli import running, scoring, answering, describing, converting, exporting  # noqa: F401, I001 (in the order of --help)
from hyperadapters.cli import serving, harness_scoring, pushing, sweeping, listing, costing  # noqa: F401
from hyperadapters.cli.base import _share_processors, _tolerate_encodings, app


def main() -> None:
    """Run the command line."""
    _share_processors()
    _tolerate_encodings()
    app()


if __name__ == "__main__":
    main()
