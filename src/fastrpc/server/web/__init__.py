"""gRPC-Web and Connect, for browsers and curl: calls by one request of HTTP each.

An engine asks `WebCalls` whether a request is one of them, and gets a `WebCall`: the meaning of its
head, and the forms of its body and its answer. Gate, memory and time are the engine's. Nothing here knows a connection.
"""
