"""Run the command line as `python -m warmcast`."""

from warmcast.cli import main

if __name__ == "__main__":
    main()
