"""Byte streams: each file dials and listens for one address scheme.

A transport knows nothing of calls. It may import `config`, `endpoint`, `errors`, `base` and `sockets`, which the socket
transports share (`edge` accepts if some peers are refused), and never another transport.
"""
