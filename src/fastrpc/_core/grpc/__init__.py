"""gRPC above HTTP/2: fields of heads and trailers, messages, details of errors, and the engines of both sides."""
