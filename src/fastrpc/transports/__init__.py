"""Byte streams: each file dials and listens for one address scheme.

A transport does not depend on calls. It may import `config`, `endpoint`, `errors`, `base` and `sockets`, the code that
socket transports share (`edge` accepts connections if some peers are refused), but no other transport.
"""
