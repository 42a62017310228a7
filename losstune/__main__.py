"""``python -m losstune``: the command line."""

from losstune.tuning.cli.app import main

if __name__ == "__main__":
    main()
