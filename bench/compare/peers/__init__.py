"""The compared stacks, one file each, named after the stack; `base` holds their interface.

A file here is found automatically: it only sets `PEERS`. It may import its own stack at the top; if that is not
installed, the file is reported as left out.
"""
