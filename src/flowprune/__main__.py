"""``python -m flowprune`` is the command line too."""

from flowprune.cli.main import main

if __name__ == "__main__":
    main()
