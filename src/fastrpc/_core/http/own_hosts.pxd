"""The hosts that are a server of HTTP: names, patterns of subdomains, addresses."""

cimport cython


@cython.final
cdef class OwnHosts:
    cdef:
        # Names in lower case without a dot at their end; the ends of names that a pattern allows, with their dot.
        frozenset _names
        tuple _ends

        # Whether requests to any host are taken. Pages still need a listed host.
        readonly bint takes_any

    cdef bint has(self, const char* host, Py_ssize_t size) except -1
