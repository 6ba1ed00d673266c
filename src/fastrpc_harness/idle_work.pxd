"""The budget of idle work of a connection of HTTP/2 (PROTOCOL.md 9)."""
