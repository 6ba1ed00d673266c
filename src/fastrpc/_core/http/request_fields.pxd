"""The fields of a request that concern its call: its metadata, its timeout, the handshake of WebSocket."""

from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.server.served_call cimport ServerCall

cdef enum:
    # A body that anybody may send.
    SMALL_BODY = 65_536

# Return the metadata of a call as on the wire, or None.
cdef bytes metadata_of(RequestHead head)

# Return the metadata of a request to an application: its trace, its id, and the credential if we verify it.
cdef bytes mounted_metadata(RequestHead head, bint takes_credential)

# Note the smaller timeout of two fields, where there is one.
cdef int take_timeout(RequestHead head, ServerCall call) except -1

# A longer timeout counts as no timeout: nanoseconds stay within 64 bits.
cdef uint64_t LONGEST_US

# Note the timeout that a caller states.
cdef int state_timeout(ServerCall call, uint64_t timeout_us) except -1

# Return the error text for metadata over a limit.
cdef str too_much_metadata(uint32_t limit)

# Return the fields of a response for metadata as on the wire.
cdef bytes metadata_lines(bytes metadata)

# Return the key of a text that would break a field of a response, or None.
cdef str breaking_key(bytes metadata)

# Return metadata as text by key, in the form of JSON: bytes in base64.
cdef dict metadata_texts(bytes metadata)

# Return whether the request has an acceptable id; the id as an entry of metadata, or b"".
cdef bint has_plain_id(RequestHead head) noexcept
cdef bytes id_entry(RequestHead head)

# Return whether a body is read only once its sender is known.
cdef bint is_long(RequestHead head) noexcept

# Return whether the client takes answers in gzip (RFC 9110, section 12.5.3).
cdef bint takes_gzip(RequestHead head) except -1

# Return whether a request is a GET that asks for WebSocket.
cdef bint asks_socket(RequestHead head) except -1

# Return the HTTP status and the text of a handshake's fault, and further fields; None: there is no fault.
cdef tuple handshake_fault(RequestHead head)

# Return the token among the subprotocols, or None. RequestRefusedError: it is malformed, or not the only credential.
cdef bytes token_of(RequestHead head)

# Return the chosen subprotocol; "": the caller names none, None: it names only others.
cdef str chosen_protocol(RequestHead head, tuple known)

# Return the subprotocols that a client offers, without its token.
cdef list offered_protocols(RequestHead head)
