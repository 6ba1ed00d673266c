"""The server's side of rpcx. Other Cython modules use nothing of it."""
