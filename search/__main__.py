"""``python -m search``: the command line where the installed command is not on the path."""

from search.cli.main import main

main()
