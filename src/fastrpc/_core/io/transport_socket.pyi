PLAIN_TRANSPORTS: frozenset[tuple[str, str]]
