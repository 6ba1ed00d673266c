"""The wire protocol of rpcx, the RPC framework for Go, and of Phobos: frames, metadata, client and server side."""
