"""The dialect of Deimos, for a store of this process: its keys as a tree, by HTTP.

`application` takes requests, `requests` reads them, `tree` does what they ask, `events` keeps what happened, `answers`
has nodes and errors as Deimos writes them. Differences from a Deimos are listed in `docs/guide/deimos.md`.
"""
