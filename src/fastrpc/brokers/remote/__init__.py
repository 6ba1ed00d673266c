"""The broker that many processes use: the service `fastrpc.broker`, its server and its client half."""
