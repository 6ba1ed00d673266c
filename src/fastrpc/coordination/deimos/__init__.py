"""The HTTP API of Deimos for a store of this process, with its keys as a tree.

`application` receives requests, `requests` parses them, `tree` executes them, `events` keeps the history, and `answers`
writes nodes and errors in the format of Deimos. `docs/guide/deimos.md` lists the differences from Deimos.
"""
