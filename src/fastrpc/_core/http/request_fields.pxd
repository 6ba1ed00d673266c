"""The fields of a request that concern its call: its metadata, its timeout, the handshake of WebSocket."""

from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.server.served_call cimport ServerCall

cdef enum:
    # The longest body that is read before its sender is known.
    SMALL_BODY = 65_536

# Return the metadata of a call as on the wire, or None.
cdef bytes metadata_of(RequestHead head)

# Return the metadata of a request to an application: its trace, its id, and, if the gateway verifies it, the credential.
cdef bytes mounted_metadata(RequestHead head, bint takes_credential)

# Set the timeout of a call from Timeout-Ms and grpc-timeout, the smaller one if there are both.
cdef int take_timeout(RequestHead head, ServerCall call) except -1

# Timeouts from this on count as no timeout, so that nanoseconds fit 64 bits.
cdef uint64_t LONGEST_US

# Set the timeout that a caller states.
cdef int state_timeout(ServerCall call, uint64_t timeout_us) except -1

# Return the error text for metadata over a limit.
cdef str too_much_metadata(uint32_t limit)

# Return the fields of a response for metadata as on the wire.
cdef bytes metadata_lines(bytes metadata)

# Return the first key whose value has CR, LF or NUL, which no field of a response can carry, or None.
cdef str breaking_key(bytes metadata)

# Return metadata as text by key, for JSON: bytes become base64.
cdef dict metadata_texts(bytes metadata)

# Return whether the request has an acceptable id. `id_entry` returns the id as an entry of metadata, or b"".
cdef bint has_plain_id(RequestHead head) noexcept
cdef bytes id_entry(RequestHead head)

# Return whether the body of a request is so long that it is read only once its sender is known.
cdef bint is_long(RequestHead head) noexcept

# Return whether the client accepts answers in gzip (RFC 9110, section 12.5.3).
cdef bint takes_gzip(RequestHead head) except -1

# Return whether a request asks for a WebSocket: by GET with Upgrade, or by an extended CONNECT of HTTP/2.
cdef bint asks_socket(RequestHead head) except -1

# Return the HTTP status, the text and further fields for the fault of a WebSocket's handshake; None if it has no fault.
cdef tuple handshake_fault(RequestHead head)

# Return the token among the subprotocols, or None. RequestRefusedError: the token is malformed, or there is another
# credential.
cdef bytes token_of(RequestHead head)

# Return the chosen subprotocol, "" if the caller offers none, None if it offers only unknown ones.
cdef str chosen_protocol(RequestHead head, tuple known)

# Return the subprotocols that a client offers, without its token.
cdef list offered_protocols(RequestHead head)
