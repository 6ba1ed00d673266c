"""The handshake of WebSocket (RFC 6455, section 4.2): a request that asks for it, and the answer.

A page cannot set Authorization for a WebSocket, so its token may come as the subprotocol `fastrpc.bearer.TOKEN`, with the
token in base64url without padding. That one is never chosen, so it is never echoed.
"""

import base64
import binascii
import hashlib

from fastrpc._core.http1.head cimport FIELD_AUTHORIZATION, VERB_GET

from fastrpc._core.http1.head import RequestRefusedError

cdef enum:
    # Bytes of the number in Sec-WebSocket-Key.
    KEY_BYTES = 16

# Appended by a server to the key (section 1.3).
cdef str KEY_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
cdef str TOKEN_PREFIX = "fastrpc.bearer."
cdef str VERSION = "13"


cdef list _listed(RequestHead head, str name):
    """Return the items of a field that is a list."""
    return [item.strip(" \t") for value in head.values(name) for item in value.split(",")]


cdef bint asks_socket(RequestHead head) except -1:
    return head.verb == VERB_GET and "websocket" in [item.lower() for item in _listed(head, "upgrade")]


cdef tuple handshake_fault(RequestHead head):
    # An Upgrade is told together with its connection option (RFC 9110, section 7.8).
    cdef bytes upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    if head.minor_version == 0 or not asks_socket(head):
        return 426, "it is asked by WebSocket: GET with Upgrade: websocket", upgrade
    if "upgrade" not in [item.lower() for item in _listed(head, "connection")]:
        return 400, "the handshake of a WebSocket has Connection: Upgrade", b""
    if head.values("sec-websocket-version") != [VERSION]:
        return 426, f"the version of WebSocket is {VERSION}", upgrade + b"Sec-WebSocket-Version: 13\r\n"
    if not _is_key(head.values("sec-websocket-key")):
        return 400, "Sec-WebSocket-Key is not 16 bytes in base64", b""
    if head.content_length != 0:
        return 400, "the handshake of a WebSocket has no body", b""
    return None


cdef bint _is_key(list values) except -1:
    try:
        return len(values) == 1 and len(base64.b64decode(values[0], validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False


cdef bytes token_of(RequestHead head):
    cdef list found = [item for item in _listed(head, "sec-websocket-protocol") if item.startswith(TOKEN_PREFIX)]
    cdef bytes token = b""
    if not found:
        return None
    if len(found) > 1 or head._noted[<int>FIELD_AUTHORIZATION].count:
        raise RequestRefusedError(400, "the request has more than one credential")
    written = found[0][len(TOKEN_PREFIX):]
    # The remainder of a negative number is C's here: not above 0.
    try:
        token = base64.b64decode(written + "=" * ((4 - len(written) % 4) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        token = b""
    if not token or not all(0x20 < byte < 0x7F for byte in token):
        # The value may be a secret.
        raise RequestRefusedError(400, f"the subprotocol {TOKEN_PREFIX}… is no token in base64url")
    return token


cdef str chosen_protocol(RequestHead head, tuple known):
    cdef list offered = [item for item in _listed(head, "sec-websocket-protocol") if not item.startswith(TOKEN_PREFIX)]
    for item in offered:
        if item in known:
            return item
    return None if offered else ""


cdef bytes switching_lines(RequestHead head, str protocol):
    cdef bytes key = (head.values("sec-websocket-key")[0] + KEY_SUFFIX).encode("ascii")
    accepted = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest())
    chosen = b"Sec-WebSocket-Protocol: %b\r\n" % protocol.encode("ascii") if protocol else b""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accepted, chosen)
    )
