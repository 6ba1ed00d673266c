"""The client's side of gRPC. It exports nothing to other Cython modules."""
