"""The envelopes of a call by WebSocket: one in each message, in JSON or msgpack."""

cdef bytes value_envelope(int codec, bytes payload)

# Return what stands around the value of such an envelope.
cdef bytes before_value(int codec)
cdef bytes behind_value(int codec)

cdef bytes metadata_envelope(int codec, dict metadata)
cdef bytes end_envelope(int codec, dict metadata)
cdef bytes error_envelope(int codec, dict document)

# Return what an envelope of the caller holds, each part encoded. CallError: it is not an envelope.
cdef dict opened_envelope(int codec, bytes message)
