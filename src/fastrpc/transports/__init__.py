"""Byte streams: each file dials and listens for one address scheme.

A transport knows no call. It may import `config`, `endpoint`, `errors` and its own `base`, never another
transport.
"""
