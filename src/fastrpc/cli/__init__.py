"""The command line, `fastrpc COMMAND`; `application` has the table of commands.

The only part that prints, and that loads typer and rich. May import everything below it.
"""
