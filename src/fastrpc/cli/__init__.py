"""The command line: `fastrpc run | call | list | bench | get | put | registry`.

The only part that prints, installs log handlers and loads typer and rich. May import everything below it.
"""
