from libc.stdint cimport uint16_t, uint32_t, uint64_t


cdef class Settings:
    cdef:
        # What one side accepts from the other, by the names of PROTOCOL.md.
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

        # Ids below 64 as bits; the rest by name.
        public uint64_t codecs
        public uint64_t compressors
        public dict named_codecs
        public dict named_compressors
        public tuple auth_schemes
        public str agent

    cpdef Settings copy(self)
    cpdef bytes encode(self, bint first=*)
    cdef int apply(self, tuple entries) except -1

    cdef inline bint takes_codec(self, unsigned int wire_id) except -1:
        return (self.codecs >> wire_id) & 1 if wire_id < 64 else wire_id in self.named_codecs

    cdef inline bint takes_compressor(self, unsigned int wire_id) except -1:
        return (self.compressors >> wire_id) & 1 if wire_id < 64 else wire_id in self.named_compressors


cpdef tuple decode_settings(bytes body, bint first=*)
