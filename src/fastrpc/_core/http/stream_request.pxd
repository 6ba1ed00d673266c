"""An HTTP/2 stream as a request by gRPC-Web or Connect."""
