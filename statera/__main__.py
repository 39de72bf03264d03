"""Run the command line: `python -m statera`."""

from statera.cli.main import main

main()
