"""HTTP/1.1 on the server side, sans-IO.

`http1_exchange` has the bytes, requests in and responses out, by `head`, `body` and `response_head`. `connection` is an
engine that holds it; `python_connection` is the base of applications in Python.
"""
