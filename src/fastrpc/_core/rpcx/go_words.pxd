"""The words of servers in Go for unknown methods and codecs: programs compare them."""

from fastrpc._core.rpcx.frames cimport Profile
from fastrpc._core.server.served_connection cimport PlainDialect

cdef PlainDialect new_dialect(Profile profile)

# Error texts as servers in Go write them.
cdef str unknown_method_in_go(str protocol, str method, object services)
cdef str unknown_codec_in_go(int codec)
