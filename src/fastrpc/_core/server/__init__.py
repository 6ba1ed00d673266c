"""The server's side of a connection: its opening, the admission and the gate of calls, handlers."""
