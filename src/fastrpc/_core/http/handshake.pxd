"""The handshake of WebSocket: a request that asks for it, and the answer."""

from fastrpc._core.http1.head cimport RequestHead

# Return whether a request is a GET that asks for WebSocket.
cdef bint asks_socket(RequestHead head) except -1

# Return the HTTP status and the text of what is wrong with a handshake, and further fields; None: nothing is.
cdef tuple handshake_fault(RequestHead head)

# Return the token among the subprotocols, or None. RequestRefusedError: it is malformed, or not the only credential.
cdef bytes token_of(RequestHead head)

# Return the subprotocol that is chosen; "": the caller names none, None: it names others only.
cdef str chosen_protocol(RequestHead head, tuple known)

# Return the head of the answer that ends the handshake.
cdef bytes switching_lines(RequestHead head, str protocol)
