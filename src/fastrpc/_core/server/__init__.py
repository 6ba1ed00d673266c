"""The server's side of a connection: opening, admission, the gate, handlers."""
