"""gRPC-Web and Connect, for browsers and curl: calls by one request of HTTP each.

An engine asks `WebCalls` whether a request is such a call, and gets a `WebCall`: the meaning of its head, and the forms
of its body and its answer. The engine keeps gate, memory and time. Nothing here knows a connection.
"""
