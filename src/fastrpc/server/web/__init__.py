"""gRPC-Web and Connect, for browsers and curl: each call is one HTTP request.

An engine asks `WebCalls` whether a request is such a call, and receives a `WebCall`, which knows the meaning of the
head and the formats of body and answer. The engine handles gate, memory and time. This package does not depend on
connections.
"""
