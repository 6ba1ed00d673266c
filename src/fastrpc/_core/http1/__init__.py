"""HTTP/1.1 on the server side, sans-IO: heads, bodies, the engine of a connection."""
