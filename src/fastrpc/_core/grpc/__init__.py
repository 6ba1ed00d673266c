"""gRPC above HTTP/2: fields of heads and trailers, messages, details of errors, and the wires of both sides.

The server's wire also has the streams of gRPC-Web and Connect; `http/stream_request.pyx` gives their meaning.
"""
