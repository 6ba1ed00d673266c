"""The fields of a request that concern its call: its metadata, its timeout, the handshake of WebSocket.

::

    Meta-User: Ada%20L.     ──► metadata {"user": "Ada L."}        back as Meta-user
    Meta-Key-Bin: AAE=      ──► metadata {"key-bin": b"\\0\\1"}
    Authorization, traceparent, tracestate, X-Request-Id ──► entries of these names
    Timeout-Ms: 250, grpc-timeout: 250m ──► the smaller one

Other fields do not become metadata, as proxies and browsers add arbitrary ones.

The handshake of WebSocket (RFC 6455, section 4.2) is a request. A web page cannot set Authorization in it, so the token
may be sent as the subprotocol `fastrpc.bearer.TOKEN`, with the token in base64url without padding. That subprotocol is
never chosen, so the token is never echoed.
"""

import base64
import binascii
from urllib.parse import quote_from_bytes, unquote_to_bytes

from libc.stdint cimport uint8_t

from fastrpc._core.exchange.request_head cimport FIELD_AUTHORIZATION, FIELD_GRPC_TIMEOUT, FIELD_REQUEST_ID
from fastrpc._core.exchange.request_head cimport FIELD_TIMEOUT_MS, FIELD_TRACEPARENT, FIELD_TRACESTATE, VERB_GET
from fastrpc._core.payload.metadata cimport encode_metadata, entries_of, entry_of
from fastrpc._core.wire.frame cimport TIMEOUT_NONE

from fastrpc._core.exchange.request_head import RequestRefusedError

cdef enum:
    # The most digits of Timeout-Ms: 31 years, which fit 64 bits of nanoseconds.
    MOST_DIGITS = 12
    # The most digits of grpc-timeout.
    GRPC_DIGITS = 8
    LONGEST_ID = 64

LONGEST_US = <uint64_t>1_000_000_000_000_000

cdef dict MICROSECONDS = {"H": 3_600_000_000, "M": 60_000_000, "S": 1_000_000, "m": 1_000, "u": 1}

# Fields that become entries of metadata under their own names; X-Request-Id does so only if it is plain.
cdef tuple NAMED = (
    (FIELD_AUTHORIZATION, b"authorization"),
    (FIELD_TRACEPARENT, b"traceparent"),
    (FIELD_TRACESTATE, b"tracestate"),
)
cdef bytes REQUEST_ID = b"frpc-request-id"
cdef frozenset HEX_DIGITS = frozenset("0123456789abcdefABCDEF")

# Bytes that the value of a field must not have.
cdef frozenset LINE_BREAKS = frozenset(b"\0\n\r")

# Characters that are not percent-encoded in the field of a metadata value, apart from letters and digits: visible ASCII
# without "%".
cdef str VISIBLE = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"

cdef enum:
    # The size of the decoded Sec-WebSocket-Key.
    KEY_BYTES = 16

cdef str TOKEN_PREFIX = "fastrpc.bearer."
cdef str VERSION = "13"


# Escape text of a request, so that it puts no control characters into an error or a log.
cdef str _shown(str text):
    return ascii(text[:100])


cdef bytes metadata_of(RequestHead head):
    cdef bytes metadata = b""
    if head.meta_count:
        metadata = encode_metadata(_named_entries(head))
    for field, key in NAMED:
        metadata += _field_entry(head, field, key, True)
    return (metadata + id_entry(head)) or None


cdef bytes mounted_metadata(RequestHead head, bint takes_credential):
    cdef bytes metadata = _field_entry(head, FIELD_AUTHORIZATION, b"authorization", True) if takes_credential else b""
    for field, key in NAMED[1:]:
        metadata += _field_entry(head, field, key, False)
    return (metadata + id_entry(head)) or None


cdef bytes _field_entry(RequestHead head, int field, bytes key, bint is_needed):
    """Return a field as an entry; a field that cannot be an entry is refused if it is required, otherwise skipped."""
    cdef Py_ssize_t size = 0
    cdef const char* data = head.field_data(field, &size)
    if data is NULL:
        return b""
    if head.count_of(field) == 1 and _is_visible(data, size):
        return entry_of(key, data[:size])
    if is_needed:
        raise RequestRefusedError(400, f"the field {key.decode()} must come once, and be visible ASCII")
    return b""


cdef bytes id_entry(RequestHead head):
    cdef Py_ssize_t size = 0
    cdef const char* data = head.field_data(FIELD_REQUEST_ID, &size)
    return entry_of(REQUEST_ID, data[:size]) if has_plain_id(head) else b""


cdef bint _is_visible(const char* text, Py_ssize_t size) noexcept:
    cdef Py_ssize_t at
    for at in range(size):
        if not 0x20 <= <uint8_t>text[at] < 0x7F:
            return False
    return True


cdef bint has_plain_id(RequestHead head) noexcept:
    cdef Py_ssize_t size = 0, at
    cdef const char* text = head.field_data(FIELD_REQUEST_ID, &size)
    if text is NULL or head.count_of(FIELD_REQUEST_ID) > 1 or not 0 < size <= LONGEST_ID:
        return False
    for at in range(size):
        if not (b"a" <= text[at] <= b"z" or b"A" <= text[at] <= b"Z" or b"0" <= text[at] <= b"9" or text[at] in b"._-"):
            return False
    return True


cdef dict _named_entries(RequestHead head):
    """Return the metadata entries of the fields whose names begin with `Meta-`."""
    cdef dict entries = {}
    for name, value in head.fields:
        if not name.startswith("meta-"):
            continue
        key = name[5:]
        if key in entries or _is_field(head, key.encode("ascii")):
            raise RequestRefusedError(400, f"the metadata {_shown(key)} comes twice")
        if key == "authorization" or key.startswith("frpc-"):
            raise RequestRefusedError(400, f"the metadata {_shown(key)} is reserved")
        try:
            entries[key] = _value_of(key, value)
            encode_metadata({key: entries[key]})
        except (ValueError, TypeError) as error:
            raise RequestRefusedError(400, f"the field {_shown(name)} cannot be metadata: {_shown(str(error))}") from None
    return entries


cdef bint _is_field(RequestHead head, bytes key) except -1:
    """Return whether a field of `NAMED` that the request has makes an entry with this key, too."""
    cdef int field
    for field, known in NAMED:
        if known == key and head.count_of(field):
            return True
    return False


cdef object _value_of(str key, str value):
    if key.endswith("-bin"):
        try:
            return base64.b64decode(value + "=" * (3 - (len(value) + 3) % 4), validate=True)
        except binascii.Error:
            raise ValueError("the value is not base64") from None
    if not value.isascii():
        raise ValueError("the value must be visible ASCII, with other bytes written as %XX")
    for part in value.split("%")[1:]:
        if len(part) < 2 or not HEX_DIGITS.issuperset(part[:2]):
            raise ValueError('"%" must be followed by two hexadecimal digits')
    return unquote_to_bytes(value).decode("utf-8")


cdef int take_timeout(RequestHead head, ServerCall call) except -1:
    cdef uint64_t found = LONGEST_US
    cdef str text
    if not head.count_of(FIELD_TIMEOUT_MS) and not head.count_of(FIELD_GRPC_TIMEOUT):
        return 0
    if head.count_of(FIELD_TIMEOUT_MS):
        text = head.field_text(FIELD_TIMEOUT_MS)
        if head.count_of(FIELD_TIMEOUT_MS) > 1 or not _is_number(text, MOST_DIGITS):
            raise RequestRefusedError(400, f"Timeout-Ms is {_shown(text)}, it must be one number of milliseconds")
        found = min(found, <uint64_t>int(text) * 1000)
    if head.count_of(FIELD_GRPC_TIMEOUT):
        text = head.field_text(FIELD_GRPC_TIMEOUT)
        digits, unit = text[:max(0, len(text) - 1)], text[max(0, len(text) - 1):]
        if head.count_of(FIELD_GRPC_TIMEOUT) > 1 or not (
            _is_number(digits, GRPC_DIGITS) and (unit in MICROSECONDS or unit == "n")
        ):
            raise RequestRefusedError(400, f"grpc-timeout is {_shown(text)}, it must be 1 to 8 digits and one of HMSmun")
        if unit == "n":
            found = min(found, <uint64_t>int(digits) // 1000)
        else:
            found = min(found, <uint64_t>int(digits) * <uint64_t>MICROSECONDS[unit])
    return state_timeout(call, found)


cdef bint _is_number(str text, Py_ssize_t most) except -1:
    return 0 < len(text) <= most and text.isascii() and text.isdigit()


cdef int state_timeout(ServerCall call, uint64_t timeout_us) except -1:
    call.stated_timeout_us = TIMEOUT_NONE if timeout_us >= LONGEST_US else max(timeout_us, <uint64_t>1)
    if timeout_us == 0:
        call.deadline_ns = call.started_ns
    return 0


cdef str too_much_metadata(uint32_t limit):
    return f"the metadata is over the limit of {limit} bytes (Limits.metadata_bytes)"


cdef bytes metadata_lines(bytes metadata):
    cdef list lines = []
    for key, value in entries_of(metadata):
        shown = base64.b64encode(value) if key.endswith(b"-bin") else quote_from_bytes(value, VISIBLE).encode()
        lines.append(b"Meta-%b: %b\r\n" % (key, shown))
    return b"".join(lines)


cdef str breaking_key(bytes metadata):
    for key, value in entries_of(metadata):
        if not key.endswith(b"-bin") and not LINE_BREAKS.isdisjoint(value):
            return key.decode("ascii")
    return None


cdef dict metadata_texts(bytes metadata):
    return {
        key.decode(): base64.b64encode(value).decode() if key.endswith(b"-bin") else value.decode()
        for key, value in entries_of(metadata)
    }


cdef bint is_long(RequestHead head) noexcept:
    return not 0 <= head.content_length <= SMALL_BODY or head.expects_continue


cdef list _listed(RequestHead head, str name):
    """Return the items of a comma-separated field."""
    return [item.strip(" \t") for value in head.values(name) for item in value.split(",")]


cdef bint takes_gzip(RequestHead head) except -1:
    cdef bint takes_any = False, is_refused
    for item in _listed(head, "accept-encoding"):
        name, _, quality = item.lower().partition(";")
        quality = quality.replace(" ", "").replace("\t", "")
        is_refused = quality.startswith("q=") and not quality[2:].strip("0.")
        if name.strip(" \t") in ("gzip", "x-gzip"):
            return not is_refused
        if name.strip(" \t") == "*":
            takes_any = not is_refused
    return takes_any


cdef bint asks_socket(RequestHead head) except -1:
    if head.version == "2":
        # An extended CONNECT (RFC 8441).
        return head.protocol == b"websocket"
    return head.verb == VERB_GET and "websocket" in [item.lower() for item in _listed(head, "upgrade")]


cdef tuple handshake_fault(RequestHead head):
    # A response with Upgrade has the connection option as well (RFC 9110, section 7.8).
    cdef bytes upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    if head.version == "2":
        return stream_handshake_fault(head)
    if head.version == "1.0" or not asks_socket(head):
        return 426, "this path is called by WebSocket: GET with Upgrade: websocket", upgrade
    if "upgrade" not in [item.lower() for item in _listed(head, "connection")]:
        return 400, "the handshake of a WebSocket has Connection: Upgrade", b""
    if head.values("sec-websocket-version") != [VERSION]:
        return 426, f"the version of WebSocket is {VERSION}", upgrade + b"Sec-WebSocket-Version: 13\r\n"
    if not _is_key(head.values("sec-websocket-key")):
        return 400, "Sec-WebSocket-Key is not 16 bytes in base64", b""
    if head.content_length != 0:
        return 400, "the handshake of a WebSocket has no body", b""
    return None


cdef tuple stream_handshake_fault(RequestHead head):
    """Return the fault of a handshake on HTTP/2, which has no Sec-WebSocket-Key, Connection and Upgrade."""
    if not asks_socket(head):
        return 400, "this path is called by WebSocket: CONNECT with :protocol websocket (RFC 8441)", b""
    if head.values("sec-websocket-version") != [VERSION]:
        return 400, f"the version of WebSocket is {VERSION}", b"Sec-WebSocket-Version: 13\r\n"
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
    if len(found) > 1 or head.count_of(FIELD_AUTHORIZATION):
        raise RequestRefusedError(400, "the request has more than one credential")
    written = found[0][len(TOKEN_PREFIX):]
    # Padded in this way because the remainder of a negative number is not positive in C.
    try:
        token = base64.b64decode(written + "=" * ((4 - len(written) % 4) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        token = b""
    if not token or not all(0x20 < byte < 0x7F for byte in token):
        # The error does not show the value, which may be a secret.
        raise RequestRefusedError(400, f"the subprotocol {TOKEN_PREFIX}… must have a token in base64url")
    return token


cdef list offered_protocols(RequestHead head):
    return [item for item in _listed(head, "sec-websocket-protocol") if not item.startswith(TOKEN_PREFIX)]


cdef str chosen_protocol(RequestHead head, tuple known):
    cdef list offered = offered_protocols(head)
    for item in offered:
        if item in known:
            return item
    return None if offered else ""
