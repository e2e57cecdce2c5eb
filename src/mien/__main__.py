"""`python -m mien`: the command line, for where the installed command is not on the path."""

from mien.cli.app import main

if __name__ == "__main__":
    main()
