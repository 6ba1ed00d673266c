"""Frames of rpcx have no Python face: the two sides of a connection are `server` and `translation`."""
