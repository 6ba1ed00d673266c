"""Ways to make a server hold memory, each with the budget that bounds it, and their measurement.

`python -m tests.support.held_memory [WAY…]` prints a line for each. `ways` has the bytes, `attack` sends them,
`server` is the server under attack, `measure` compares its memory with the memory of the same server idle.
"""
