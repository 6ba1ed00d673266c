"""The compiled engine: everything that happens per message.

May import only `fastrpc.errors`, `fastrpc.config`, `fastrpc.endpoint` and what is below them.
"""
