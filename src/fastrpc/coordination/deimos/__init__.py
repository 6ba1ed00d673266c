"""The dialect of Deimos, for a store of this process: its keys as a tree, by HTTP.

`application` takes requests, `requests` reads them, `tree` executes them, `events` keeps the history, `answers` writes
nodes and errors in the form of Deimos. Differences from a Deimos are listed in `docs/guide/deimos.md`.
"""
