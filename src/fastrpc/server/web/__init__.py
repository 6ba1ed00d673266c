"""gRPC-Web and Connect, for browsers and curl: each call is one HTTP request.

An engine asks `WebCalls` whether a request is such a call, and gets a `WebCall`: the meaning of the head, and the forms
of body and answer. The engine handles gate, memory and time. This package does not depend on connections.
"""
