"""The heads of requests: what is the same in each call of a method on a connection, as one template of HPACK.

::

    :method POST, :scheme, :authority, :path /package.Service/Method, te, content-type, user-agent, grpc-accept-encoding,
    authorization: Bearer …        then, written with each call: grpc-timeout, grpc-encoding, metadata

A call may bring `authorization` and `user-agent` in its metadata: they replace ours.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE

from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.http2.hpack_tables cimport FIELD_OVERHEAD
from fastrpc._core.payload.metadata cimport has_any_key

cdef enum:
    # More than the fields that are written with each call have, metadata aside.
    OTHER_FIELDS = 256

cdef bytes AUTHORIZATION = b"authorization"
cdef bytes USER_AGENT = b"user-agent"
cdef frozenset REPLACED = frozenset({AUTHORIZATION, USER_AGENT})


@cython.final
cdef class RequestHeads:
    """The heads of the requests of one connection."""

    def __init__(self, str scheme not None, str authority not None, str agent not None, bytes credential):
        self._first = (
            (b":method", b"POST"), (b":scheme", scheme.encode()), (b":authority", authority.encode()),
        )
        self._last = (
            (b"te", b"trailers"), (b"grpc-accept-encoding", b"identity,gzip,deflate"), (USER_AGENT, agent.encode()),
        )
        self.present(credential)

    cdef int present(self, bytes credential) except -1:
        self._credential = None if credential is None else b"Bearer " + credential
        self._usual = {}
        self._bare = {}
        return 0

    cdef HeaderTemplate head_of(self, MethodRoute route, bytes metadata):
        cdef HeaderTemplate found
        if metadata is not None and has_any_key(metadata, REPLACED):
            return self._head_beside(route, metadata)
        found = <HeaderTemplate>self._usual.get(route)
        if found is None:
            found = self._usual[route] = self._made(route, ())
        return found

    cdef HeaderTemplate _head_beside(self, MethodRoute route, bytes metadata):
        """Return the head of a call whose metadata replaces fields of it."""
        cdef tuple key = (route, *[name for name in REPLACED if has_any_key(metadata, frozenset({name}))])
        cdef HeaderTemplate found = <HeaderTemplate>self._bare.get(key)
        if found is None:
            found = self._bare[key] = self._made(route, key[1:])
        return found

    cdef HeaderTemplate _made(self, MethodRoute route, tuple replaced):
        service, _, method = route.name.rpartition(b".")
        kind = b"application/grpc+json" if route.marshal.codec_id == CODEC_JSON else b"application/grpc"
        pairs = [*self._first, (b":path", b"/%b/%b" % (service, method)), (b"content-type", kind), *self._last]
        if self._credential is not None:
            pairs.append((AUTHORIZATION, self._credential))
        return HeaderTemplate([pair for pair in pairs if pair[0] not in replaced])

    cdef Py_ssize_t size_of(self, MethodRoute route) except -1:
        cdef Py_ssize_t found = OTHER_FIELDS
        for name, value in self.head_of(route, None).pairs:
            found += PyBytes_GET_SIZE(name) + PyBytes_GET_SIZE(value) + FIELD_OVERHEAD
        return found
