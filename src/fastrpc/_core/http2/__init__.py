"""The parts of HTTP/2 (RFC 9113) and HPACK (RFC 7541), sans-IO: header blocks, frames, settings, windows, streams.

`connection` is one connection of either side. A side implements `StreamHandler` and holds the connection.

`http2_exchange` is a request of HTTP on a stream, `http2_pages` the requests of a connection other than calls: a wire
that serves both, as gRPC's does, holds them.
"""
