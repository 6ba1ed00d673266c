"""gRPC above HTTP/2: fields of heads and trailers, messages, and the wires of both sides.

The server's wire also has the streams of gRPC-Web and Connect; `http/stream_request.pyx` gives their meaning.
"""
