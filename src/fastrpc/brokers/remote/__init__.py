"""A broker that many processes share: the service `fastrpc.broker` and its client."""
