"""The wire of rpcx, the RPC framework for Go, and of Phobos: frames, metadata, both sides of a connection."""
