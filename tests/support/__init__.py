"""The common parts of several tests: the reference of the wire, a frame factory, a fault proxy, a call ledger.

The `wire_*` modules are written from PROTOCOL.md and import nothing of `fastrpc`, so that they can judge it.
"""
