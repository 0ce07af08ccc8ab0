"""`python -m hyperadapters`: the command line."""

from hyperadapters.cli.__main__ import main

if __name__ == "__main__":
    main()
