"""Keys and values with watch and lease: each file keeps them in one kind of place.

A store knows no network of ours and no call. It may import `config`, `endpoint`, `errors` and its own `base`, never
another store.
"""
