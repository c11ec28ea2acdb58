"""`python -m bench`: see --help."""

from bench.command import command

command()
