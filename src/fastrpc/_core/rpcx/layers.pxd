"""Streams that speak rpcx below, and the native protocol above: they have nothing for other modules of C."""
