"""The base of applications in Python that answer requests by HTTP/1.1."""

cimport cython

from fastrpc._core.exchange.exchange cimport HttpApplication
from fastrpc._core.http1.connection cimport HttpConnection


@cython.final
cdef class PythonApplication(HttpApplication):
    pass


cdef class PythonHttpConnection(HttpConnection):
    pass
