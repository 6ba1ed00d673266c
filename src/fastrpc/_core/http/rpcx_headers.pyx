"""Requests of rpcx's header gateway: the X-RPCX fields of requests and of answers.

::

    POST /Arith                                HTTP/1.1 200 OK
    X-RPCX-ServiceMethod: Mul                  X-RPCX-ServicePath: Arith
    X-RPCX-SerializeType: 1                    X-RPCX-ServiceMethod: Mul
    X-RPCX-Meta: trace=7            ──►        X-RPCX-SerializeType: 1
                                               X-RPCX-Meta: cost=2
    {"A":6,"B":7}                              {"C":42}

Each body is one value, as in frames of rpcx. A failure has no body: its text is in X-RPCX-ErrorMessage, and
X-RPCX-MessageStatusType is `Error`. A success has no X-RPCX-MessageStatusType. Malformed or missing fields of rpcx are
answered with such a failure and the HTTP status 200, as servers in Go do.

Phobos has the same fields with the prefix PHOBOS-Gateway. A request needs a MessageID; without a SerializeType its body
is raw bytes. The HTTP status of every answer is 200. A success has no fields of the gateway and no metadata; a failure
has its text and its metadata as fields.
"""

import logging
import re
from base64 import b64encode
from urllib.parse import parse_qsl, quote_plus

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE

from fastrpc._core.base.codec_numbers cimport SERIALIZE_JSON, SERIALIZE_MSGPACK, SERIALIZE_THRIFT, codec_of
from fastrpc._core.http.request_fields cimport state_timeout, too_much_metadata
from fastrpc._core.payload.metadata cimport (
    METADATA_OK,
    check_metadata,
    decode_metadata,
    encode_metadata,
    has_form,
    note_dropped,
    shown_key,
)

logger = logging.getLogger("fastrpc.server")

cdef enum:
    # The longest name of a method (PROTOCOL.md).
    NAME_BYTES = 255
    # The most bytes of an error text in a field: proxies refuse longer fields.
    TEXT_BYTES = 4_000
    # The most digits of a timeout in milliseconds.
    TIMEOUT_DIGITS = 12
    # The longest malformed value that is echoed.
    ECHOED_BYTES = 32

cdef str PREFIX = "x-rpcx-"
cdef str PHOBOS_PREFIX = "phobos-gateway-"
# Fields of which one is enough to mark a request of rpcx, whatever its path.
cdef frozenset MARKS = frozenset({b"servicemethod", b"serializetype"})
cdef frozenset KNOWN = MARKS | {b"version", b"messageid", b"servicepath", b"oneway", b"meta", b"heartbeat"}
# Fields that metadata must not set in an answer, as a peer would misread the answer.
cdef frozenset OWN_FIELDS = frozenset({
    b"cache-control", b"connection", b"date", b"keep-alive", b"location", b"set-cookie", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"vary", b"www-authenticate",
})
cdef tuple OWN_PREFIXES = (b"access-control-", b"content-", b"phobos-gateway-", b"proxy-", b"x-content-")

cdef object BROKEN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")

cdef str AUTH = "__AUTH"
cdef str SERVER_TIMEOUT = "__ServerTimeout"

cdef dict MEDIA_TYPES = {
    SERIALIZE_JSON: b"Content-Type: application/json\r\n",
    SERIALIZE_MSGPACK: b"Content-Type: application/msgpack\r\n",
}
cdef bytes OTHER_MEDIA = b"Content-Type: application/octet-stream\r\n"

# Control characters, which the value of a field must not have.
cdef bytes CONTROLS = bytes(range(32)) + b"\x7f"
cdef bytes SPACES = bytes.maketrans(CONTROLS, b" " * len(CONTROLS))


@cython.final
cdef class RpcxHeaders:

    cdef bytes full_name(self):
        cdef bytes name = b"%b.%b" % (self.path, self.method)
        # A method has no dot in its name: the last dot ends the name of the service.
        return b"" if b"." in self.method or PyBytes_GET_SIZE(name) > NAME_BYTES else name

    cdef bytes answer_lines(self, bytes metadata):
        cdef dict entries = {} if metadata is None or self.is_phobos else decode_metadata(metadata)
        if self.is_phobos:
            return MEDIA_TYPES.get(int(self.serialize), OTHER_MEDIA)
        cdef list pairs = [f"{quote_plus(key)}={quote_plus(entries[key])}" for key in sorted(entries)]
        return (
            MEDIA_TYPES.get(int(self.serialize), OTHER_MEDIA) + self._echoed()
            + b"X-RPCX-Meta: %b\r\n" % "&".join(pairs).encode("ascii")
        )

    cdef bytes failure_lines(self, str text, bytes metadata):
        cdef bytes shown = text.encode("utf-8", "replace").translate(SPACES).strip()
        if PyBytes_GET_SIZE(shown) > TEXT_BYTES:
            shown = shown[:TEXT_BYTES].decode("utf-8", "ignore").encode() + b"..."
        if self.is_phobos:
            lines = b"PHOBOS-Gateway-MessageStatusType: Error\r\nPHOBOS-Gateway-ErrorMessage: %b\r\n" % shown
            return lines + (b"" if self.problem else b"__phobos_error__: %b\r\n" % shown) + _bare_lines(metadata)
        return self._echoed() + b"X-RPCX-MessageStatusType: Error\r\nX-RPCX-ErrorMessage: %b\r\n" % shown

    def _echoed(self):
        cdef bytes lines = b"X-RPCX-Version: %b\r\nX-RPCX-MessageID: %b\r\n" % (self.version, self.message_id)
        named = (b"ServicePath", self.path), (b"ServiceMethod", self.method), (b"SerializeType", self.serialize)
        return lines + b"".join([b"X-RPCX-%b: %b\r\n" % (name, value) for name, value in named if value])


cdef bytes _bare_lines(bytes metadata):
    """Return metadata as fields with unchanged names."""
    cdef list lines = []
    for key, value in ({} if metadata is None else decode_metadata(metadata)).items():
        name = key.encode()
        if name not in OWN_FIELDS and not name.startswith(OWN_PREFIXES):
            text = b64encode(value) if isinstance(value, bytes) else value.encode("utf-8", "replace")
            lines.append(b"%b: %b\r\n" % (name, text.translate(SPACES).strip()))
    return b"".join(lines)


cdef RpcxHeaders rpcx_headers(RequestHead head, bytes path, bint is_phobos):
    cdef dict found = _fields_of(head, PHOBOS_PREFIX if is_phobos else PREFIX)
    cdef RpcxHeaders headers
    if MARKS.isdisjoint(found):
        return None
    headers = RpcxHeaders.__new__(RpcxHeaders)
    headers.is_phobos = is_phobos
    headers.is_heartbeat = is_phobos and bool(found.get(b"heartbeat"))
    headers.version = found.get(b"version", b"")
    headers.message_id = found.get(b"messageid", b"")
    headers.path = found.get(b"servicepath") or path[1:]
    headers.method = found.get(b"servicemethod", b"")
    headers.serialize = found.get(b"serializetype") or (b"0" if is_phobos else b"")
    headers.is_one_way = bool(found.get(b"oneway"))
    headers.problem = _problem_in(headers, found)
    if headers.problem is None:
        headers.codec = codec_of(int(headers.serialize))
    return headers


cdef dict _fields_of(RequestHead head, str prefix):
    """Return the gateway's fields by name without the prefix; the value of a repeated field is None."""
    cdef dict found = {}
    for name, value in head.fields:
        end = name[len(prefix):].encode("ascii")
        if name.startswith(prefix) and end in KNOWN:
            found[end] = None if end in found else value.encode("latin-1")
    return found


cdef str _problem_in(RpcxHeaders headers, dict found):
    """Return an error text for a fault of the fields, or None; clear values that cannot be echoed."""
    twice = sorted([name.decode() for name, value in found.items() if value is None])
    headers.version = headers.version or b""
    headers.method = headers.method or b""
    if headers.is_phobos:
        if not headers.message_id:
            return "phobos: PHOBOS-Gateway-MessageID is missing"
    elif not _is_number(headers.message_id, 20, 2**64 - 1):
        if headers.message_id:
            twice.append("messageid")
        headers.message_id = _short(headers.message_id)
    if not _is_number(headers.serialize, 2, SERIALIZE_THRIFT):
        twice.append("serializetype")
        headers.serialize = _short(headers.serialize)
    if twice:
        headers.serialize = b"" if headers.serialize is None else headers.serialize
        name = f"phobos: PHOBOS-Gateway-{twice[0]}" if headers.is_phobos else f"rpcx: X-RPCX-{twice[0]}"
        return f"{name} is missing, malformed, or comes more than once"
    if headers.is_phobos:
        # In Phobos a missing name is not malformed: it is the name of an unknown service or method.
        return None
    if not headers.path:
        return "rpcx: X-RPCX-ServicePath is missing"
    return None if headers.method else "rpcx: X-RPCX-ServiceMethod is missing"


cdef bytes _short(bytes value):
    """Return a malformed value if it is short enough to be echoed, else b""."""
    return value if value is not None and PyBytes_GET_SIZE(value) <= ECHOED_BYTES and value.isascii() else b""


cdef bint _is_number(bytes text, Py_ssize_t digits, most) except -1:
    return text is not None and 0 < len(text) <= digits and text.isdigit() and int(text) <= most


cdef str take_rpcx_metadata(ServerCall call, RequestHead head, bint is_phobos, Gate gate):
    cdef dict entries = {} if call.received_metadata is None else decode_metadata(call.received_metadata)
    cdef bint has_token
    cdef bytes metadata
    cdef list dropped = []
    if is_phobos:
        # In Phobos only the metadata has the token, not Authorization.
        entries.pop("authorization", None)
    has_token = "authorization" in entries
    try:
        for key, value in _meta_pairs(head, PHOBOS_PREFIX if is_phobos else PREFIX):
            name = key.encode("utf-8", "surrogateescape").lower()
            if key == SERVER_TIMEOUT and not is_phobos:
                timeout = _microseconds(value)
                if timeout is not None:
                    state_timeout(call, min(timeout, call.stated_timeout_us) if call.stated_timeout_us else timeout)
            elif key == AUTH or name == b"authorization":
                if has_token:
                    raise ValueError("there are two tokens: send either Authorization or __AUTH")
                has_token = True
                entries["authorization"] = value
            elif name.startswith(b"frpc-"):
                raise ValueError(f"metadata key {shown_key(name)}: frpc- is reserved")
            elif not has_form(name):
                dropped.append(name)
            else:
                # Of equal keys the last one counts.
                entries[name.decode()] = value.encode("utf-8", "surrogateescape") if name.endswith(b"-bin") else value
        if has_token and " " not in entries["authorization"]:
            entries["authorization"] = f"bearer {entries['authorization']}"
        if dropped:
            note_dropped(dropped, "phobos" if is_phobos else "rpcx", logger, gate.dispatcher.has_told_dropped)
            gate.dispatcher.has_told_dropped = True
        metadata = encode_metadata(entries) if entries else None
        if metadata is not None and check_metadata(metadata, len(metadata), gate.metadata_bytes) != METADATA_OK:
            raise ValueError(too_much_metadata(gate.metadata_bytes))
        call.received_metadata = metadata
    except (ValueError, TypeError) as error:
        return f"phobos: PHOBOS-Gateway-Meta: {error}" if is_phobos else f"rpcx: X-RPCX-Meta: {error}"
    return None


def _meta_pairs(RequestHead head, str prefix):
    """Return the pairs in the field Meta, which has the form of a query. ValueError: it is malformed."""
    query = "".join(head.values(prefix + "meta"))
    if not query.isascii() or BROKEN_ESCAPE.search(query):
        raise ValueError("it does not have the form of a URL query")
    return parse_qsl(query, keep_blank_values=True, errors="surrogateescape")


cdef object _microseconds(str text):
    """Convert a timeout from milliseconds to microseconds; return None for other text, which Go ignores as well."""
    cdef bytes digits = text.encode("utf-8", "replace")
    if digits.startswith(b"-") and _is_number(digits[1:], TIMEOUT_DIGITS, 10**TIMEOUT_DIGITS):
        return 0
    return int(digits) * 1000 if _is_number(digits, TIMEOUT_DIGITS, 10**TIMEOUT_DIGITS) else None


cdef int rpcx_status(RpcxHeaders headers, Failure failure, int told) noexcept:
    if headers.is_phobos:
        return 200
    if not failure.has_run and told in (401, 403, 413, 429, 503):
        return told
    return 500
