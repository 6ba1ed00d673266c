"""Byte streams: each file dials and listens for one address scheme.

A transport knows no call. It may import `config`, `endpoint`, `errors`, `base` and what transports made of sockets
share in `sockets`, never another transport.
"""
