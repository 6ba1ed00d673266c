"""TLS by Python's `ssl`: contexts from certificate files, the two ends of a handshake, words for its failures.

Knows nothing of connections: transports, registries and HTTP clients use it. It may not import them.
"""
