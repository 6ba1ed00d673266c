"""A store that many processes share: the service `fastrpc.store`, its server, and its client."""
