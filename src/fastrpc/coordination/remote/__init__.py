"""The store that many processes use: the service `fastrpc.store`, its server and its client half."""
