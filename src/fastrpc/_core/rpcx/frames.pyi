"""Frames of rpcx have no Python face: the two sides of a connection are in `server` and `client`."""
