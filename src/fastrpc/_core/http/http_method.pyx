"""A method as the gateway knows it: its marshals by name, whether GET may call it."""

cimport cython

from fastrpc._core.base.codec_numbers cimport CODEC_MSGPACK


@cython.final
cdef class HttpMethod:

    def __init__(
        self, MethodRoute route not None, marshal_of not None, arguments_of not None, *, bint is_safe, bint is_protobuf=False
    ):
        self.route = route
        self.is_safe = is_safe
        self.is_protobuf = is_protobuf
        self._marshal_of = marshal_of
        self._arguments_of = arguments_of

    cdef Marshal marshal(self, int codec):
        """Return what encodes and decodes calls in JSON or msgpack; CallError where that cannot carry the types."""
        if codec == CODEC_MSGPACK:
            if self._msgpack is None:
                self._msgpack = <Marshal?>self._marshal_of("msgpack")
            return self._msgpack
        if self._json is None:
            self._json = <Marshal?>self._marshal_of("json")
        return self._json

    cdef bytes arguments(self, str query):
        return <bytes?>self._arguments_of(query)
