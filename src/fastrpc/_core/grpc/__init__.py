"""gRPC above HTTP/2: fields of heads and trailers, messages, details of errors, and the wires of both sides.

The server's wire has the streams of gRPC-Web and Connect as well; `http/stream_request.pyx` tells what they mean.
"""
