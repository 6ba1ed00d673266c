cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    # Numbers below this mean the same codec or compressor on both sides. Each side assigns its other numbers itself.
    FIRST_OWN_NUMBER = 64


@cython.final
cdef class WireNumbers:
    cdef:
        # The meaning of numbers in received frames. `codecs`: names of codecs. `compressors`: compressor objects.
        readonly dict codecs
        readonly dict compressors


cdef class WireSettings:
    cdef:
        # The settings of one side, by the names of PROTOCOL.md.
        public uint32_t max_frame
        public uint64_t max_message
        public uint32_t max_metadata
        public uint32_t max_calls
        public uint32_t max_streams
        public uint32_t stream_window
        public uint16_t open_messages
        public uint32_t min_ping_ms
        public uint32_t ping_reply_ms
        public uint64_t features
        public uint16_t workers

        # `codecs`, `compressors`: {number: name}, as this side announces them.
        public dict codecs
        public dict compressors
        public tuple auth_schemes
        public str agent
        public bytes client_id

    cpdef WireSettings copy(self)
    cpdef bytes encode(self, bint first=*)
    cdef int apply(self, tuple entries) except -1

    cdef int codec_number(self, int number, str name) except -2
    cdef bytes compressed(self, object compressor, int number, bytes payload, uint8_t* taken_as)


# Return the compressed payload, or None if it is not smaller.
cdef bytes smaller_of(object compressor, bytes payload)

cpdef tuple decode_settings(bytes body, bint first=*)
