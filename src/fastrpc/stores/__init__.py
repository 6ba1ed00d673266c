"""Key-value stores with watch and lease: one file per kind of store.

A store depends on no connection and no call. It may import `config`, `endpoint`, `errors` and its own `base`, never
another store.
"""
