"""The hosts of an HTTP server: names, patterns of subdomains, addresses."""

cimport cython


@cython.final
cdef class OwnHosts:
    cdef:
        # `_names`: host names in lower case without a final dot; `_ends`: the suffixes that patterns allow, each with
        # its leading dot.
        frozenset _names
        tuple _ends

        # Whether requests to any host are accepted. Web pages still need a listed host.
        readonly bint takes_any

    cdef bint has(self, const char* host, Py_ssize_t size) except -1
