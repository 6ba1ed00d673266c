"""The error texts of Go servers for unknown methods and codecs. Programs compare these texts."""

cimport cython

from fastrpc._core.base.codec_numbers cimport FOREIGN_CODECS
from fastrpc._core.calls.call cimport Call
from fastrpc._core.wire.settings cimport FIRST_OWN_NUMBER


@cython.final
cdef class RpcxDialect(PlainDialect):
    """The error texts of servers in Go."""

    cdef:
        Profile profile

    cdef str unknown_method(self, Call call, str method, object services):
        return unknown_method_in_go(self.profile.name, method, services)

    cdef str unknown_codec(self, Call call):
        return unknown_codec_in_go(call.codec)

    cdef int compressor(self, Call call, int number) except -1:
        return number if self.profile.compresses else 0


cdef PlainDialect new_dialect(Profile profile):
    cdef RpcxDialect dialect = RpcxDialect.__new__(RpcxDialect)
    dialect.profile = profile
    return dialect


cdef str unknown_method_in_go(str protocol, str method, object services):
    service, _, name = method.rpartition(".")
    if services is not None and service not in services:
        return f"{protocol}: can't find service {service}"
    return f"{protocol}: can't find method {name}"


cdef str unknown_codec_in_go(int codec):
    # Bytes and protobuf messages are the payload itself in every protocol.
    return f"can not find codec for {codec - FOREIGN_CODECS}" if FOREIGN_CODECS <= codec < FIRST_OWN_NUMBER else None
