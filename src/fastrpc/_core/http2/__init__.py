"""The parts of HTTP/2 (RFC 9113) and HPACK (RFC 7541), sans-IO: header blocks, frames, settings, windows, streams.

`connection` is an HTTP/2 connection, of a client or a server. Its user implements `StreamHandler` and holds it.

`http2_exchange` is an HTTP request on a stream. `http2_pages` has the requests of a connection that are not calls; the
wire of gRPC, which serves both, holds it.
"""
