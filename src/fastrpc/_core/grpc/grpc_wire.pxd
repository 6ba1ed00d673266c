"""The server's side of gRPC: it has nothing for other modules of C."""
