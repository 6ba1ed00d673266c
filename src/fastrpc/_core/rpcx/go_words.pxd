"""The error texts of Go servers for unknown methods and codecs. Programs compare these texts."""

from fastrpc._core.rpcx.frames cimport Profile
from fastrpc._core.server.served_connection cimport PlainDialect

cdef PlainDialect new_dialect(Profile profile)

# Return error texts as Go servers write them.
cdef str unknown_method_in_go(str protocol, str method, object services)
cdef str unknown_codec_in_go(int codec)
