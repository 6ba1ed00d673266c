"""The server's side of rpcx: it has nothing for other modules of C."""
