"""``python -m gpublur`` is the command line."""

from .cli import main

main(prog_name="gpublur")
