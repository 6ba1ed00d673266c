"""HTTP/1.1 on the server side, sans-IO.

`http1_exchange` parses requests and writes responses, with `head`, `body` and `response_head`. `connection` is the
engine that holds an exchange; `python_connection` is the base of applications in Python.
"""
