"""Fields of HTTP/2 and the forms that every version of HTTP shares, into each other.

::

    header block ──► `:method`, `:path`, `:authority` as Host, the other fields ──► RequestHead
    status, lines of fields ──► `:status`, names in lower case ──► fields with tokens
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from fastrpc._core.exchange.request_head cimport head_of_fields
from fastrpc._core.exchange.response_date cimport response_date
from fastrpc._core.http2.header_block cimport (
    TOKEN_AUTHORITY,
    TOKEN_CONNECTION,
    TOKEN_CONTENT_LENGTH,
    TOKEN_COOKIE,
    TOKEN_DATE,
    TOKEN_HOST,
    TOKEN_METHOD,
    TOKEN_PATH,
    TOKEN_PROTOCOL,
    TOKEN_STATUS,
    TOKEN_TRANSFER_ENCODING,
    TOKEN_UPGRADE,
    HeaderField,
    token_of,
)

from fastrpc._core.exchange.request_head import RequestRefusedError

cdef enum:
    # Answers whose fields are kept, and the most bytes of the lines of each: 64 KiB together, beside the fields.
    MOST_KNOWN = 256
    KNOWN_BYTES = 256

cdef dict KNOWN_FIELDS = {}
# Statuses have three digits.
cdef dict STATUS_FIELDS = {}


cdef RequestHead head_of_block(HeaderBlock block, RequestLimits limits, bint ends_stream):
    cdef HeaderField method = block.field(TOKEN_METHOD), path = block.field(TOKEN_PATH), field
    cdef HeaderField authority = block.field(TOKEN_AUTHORITY), protocol = block.field(TOKEN_PROTOCOL)
    cdef list pairs = [], cookies = []
    if method is None or path is None:
        if not block.is_too_large:
            return None
        raise too_large_error()
    if authority is not None:
        # `:authority` equals `host`, where both are given.
        pairs.append((b"host", authority.value))
    for field in block.fields:
        if field.token == TOKEN_COOKIE:
            cookies.append(field.value)
        elif not field.is_pseudo and not (field.token == TOKEN_HOST and authority is not None):
            # Messages of gRPC alone have blanks around values.
            pairs.append((field.name, field.value.strip(b" \t")))
    if cookies:
        # A client may send each cookie as a field, for its table (RFC 9113, section 8.2.3).
        pairs.append((b"cookie", b"; ".join(cookies)))
    if protocol is None:
        return head_of_fields(method.value, path.value, pairs, limits, block.content_length(), ends_stream)
    # The bytes of its stream are a tunnel's.
    return head_of_fields(method.value, path.value, pairs, limits, 0, True, protocol.value)


cdef object too_large_error():
    return RequestRefusedError(431, "the fields have more bytes than are taken here")


cdef list answer_fields(int status, bytes lines):
    return [status_field(status), *fields_of(lines)]


cdef list response_fields(int status, bytes lines, int64_t size):
    cdef list fields = [status_field(status), (TOKEN_DATE, b"date", response_date()), *fields_of(lines)]
    if size >= 0:
        fields.append((TOKEN_CONTENT_LENGTH, b"content-length", str(size).encode("ascii")))
    return fields


cdef tuple status_field(int status):
    found = STATUS_FIELDS.get(status)
    if found is None:
        found = STATUS_FIELDS[status] = (TOKEN_STATUS, b":status", b"%d" % status)
    return found


cdef list fields_of(bytes lines):
    """Return fields of lines; a method gives most answers the same lines, so the latest ones are kept."""
    cdef object known = KNOWN_FIELDS.get(lines)
    if known is not None:
        return <list>known
    fields = cut_fields(lines)
    if PyBytes_GET_SIZE(lines) <= KNOWN_BYTES:
        if len(KNOWN_FIELDS) >= MOST_KNOWN:
            KNOWN_FIELDS.clear()
        KNOWN_FIELDS[lines] = fields
    return fields


cdef list cut_fields(bytes lines):
    cdef list fields = []
    cdef bytes name
    cdef int token
    for line in lines.splitlines():
        name, _, value = line.partition(b": ")
        name = name.lower()
        token = token_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        if not (TOKEN_CONNECTION <= token <= TOKEN_UPGRADE or token == TOKEN_TRANSFER_ENCODING):
            # Blanks at an edge, which HTTP/1.1 skips, make a response malformed (RFC 9113, section 8.2.1).
            fields.append((token, name, value.strip(b" \t")))
    return fields
