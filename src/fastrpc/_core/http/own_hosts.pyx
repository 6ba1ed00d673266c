"""The hosts of an HTTP server: names, patterns of subdomains, addresses.

A web page can reach any address under a name of the page's own site, by DNS rebinding. The Host of such a request has
that name.
"""

cimport cython


@cython.final
cdef class OwnHosts:

    def __init__(self, listed):
        cdef set names = set()
        cdef list ends = []
        for text in listed:
            if text == "*":
                self.takes_any = True
            elif text.startswith("*."):
                ends.append(text[1:].rstrip("."))
            else:
                names.add(text.rstrip("."))
        self._names = frozenset(names)
        self._ends = tuple(ends)

    def __contains__(self, bytes host not None):
        return self.has(host, len(host))

    cdef bint has(self, const char* host, Py_ssize_t size) except -1:
        """Return whether a Host, checked before, is listed or is an address."""
        cdef str name
        if is_address(host, size):
            return True
        name = host[:size].partition(b":")[0].decode("latin-1").lower().rstrip(".")
        if name in self._names:
            return True
        # `*.example.com` does not allow `example.com`: something must precede the dot of the suffix.
        return any([name.endswith(end) and len(name) > len(end) for end in self._ends])


cdef bint is_address(const char* host, Py_ssize_t size) noexcept:
    """Return whether a Host, checked before, is an IP address, which DNS rebinding cannot have."""
    cdef Py_ssize_t at, dots = 0
    if size == 0:
        return False
    if host[0] == b"[":
        return True
    for at in range(size):
        if host[at] == b":":
            break
        if host[at] == b".":
            dots += 1
        elif not b"0" <= host[at] <= b"9":
            return False
    return dots == 3
