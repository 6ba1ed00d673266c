"""A stream of HTTP/2 as a request by gRPC-Web or Connect."""
