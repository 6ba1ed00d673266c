"""Streams that translate between rpcx below and the native protocol above. Other Cython modules use nothing of them."""
