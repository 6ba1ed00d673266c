"""The fields of HTTP/2, converted from and to the forms that every version of HTTP shares.

::

    header block ──► `:method`, `:path`, `:authority` as Host, the other fields ──► RequestHead
    status, lines of fields ──► `:status`, names in lower case ──► fields with tokens, or a template ──► header block

Most responses of a connection have equal lines, whose encoded block is copied; the date and the size of the body are
encoded each time.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.exchange.request_head cimport head_of_fields
from fastrpc._core.exchange.response_parts cimport SIZE_DIGITS, put_digits, response_date
from fastrpc._core.http2.header_block cimport (
    TOKEN_AUTHORITY,
    TOKEN_CONNECTION,
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
from fastrpc._core.http2.hpack cimport INDEXING_NONE, INDEXING_TABLE, HeaderTemplate

from fastrpc._core.exchange.request_head import RequestRefusedError

cdef enum:
    # MOST_KNOWN: the number of kept conversions. KNOWN_BYTES: the most bytes of lines in one conversion. Together the
    # lines have at most 64 KiB.
    MOST_KNOWN = 256
    KNOWN_BYTES = 256
    # STATUS_OK: the encoded `:status 200`. LENGTH_FIRST and LENGTH_SECOND: the first bytes of a content-length that is
    # not indexed (RFC 7541, section 6).
    STATUS_OK = 0x88
    LENGTH_FIRST = 0x0F
    LENGTH_SECOND = 0x0D

cdef dict KNOWN_FIELDS = {}
cdef dict KNOWN_TEMPLATES = {}
# The fields of statuses; there are few of them, as a status has three digits.
cdef dict STATUS_FIELDS = {}
# The last written date, and its encoded block.
cdef bytes written_date = None
cdef bytes date_block = None


cdef RequestHead head_of_block(HeaderBlock block, RequestLimits limits, bint ends_stream):
    cdef HeaderField method = block.field(TOKEN_METHOD), path = block.field(TOKEN_PATH), field
    cdef HeaderField authority = block.field(TOKEN_AUTHORITY), protocol = block.field(TOKEN_PROTOCOL)
    cdef list pairs = [], cookies = []
    if method is None or path is None:
        if not block.is_too_large:
            return None
        raise too_large_error()
    if authority is not None:
        # If there are both `:authority` and `host`, they are equal.
        pairs.append((b"host", authority.value))
    for field in block.fields:
        if field.token == TOKEN_COOKIE:
            cookies.append(field.value)
        elif not field.is_pseudo and not (field.token == TOKEN_HOST and authority is not None):
            # Only gRPC messages may have blanks around values.
            pairs.append((field.name, field.value.strip(b" \t")))
    if cookies:
        # A client may send each cookie as a separate field, for better compression (RFC 9113, section 8.2.3).
        pairs.append((b"cookie", b"; ".join(cookies)))
    if protocol is None:
        return head_of_fields(method.value, path.value, pairs, limits, block.content_length(), ends_stream)
    # There is no body: the bytes of the stream belong to a tunnel.
    return head_of_fields(method.value, path.value, pairs, limits, 0, True, protocol.value)


cdef RequestHead shared_head(HpackDecoder decoder, HeaderBlock block, RequestLimits limits, bint ends_stream):
    cdef RequestHead head = <RequestHead>block.request
    if head is not None and block.request_is_whole == ends_stream:
        return head
    head = head_of_block(block, limits, ends_stream)
    if head is not None and block.request is None and block.raw is not None:
        block.request = head
        block.request_is_whole = ends_stream
        decoder.count_note(block, head.kept_bytes)
    return head


cdef bint asks_head(HeaderBlock block) except -1:
    cdef HeaderField method = block.field(TOKEN_METHOD)
    return method is not None and method.value == b"HEAD"


cdef object too_large_error():
    return RequestRefusedError(431, "the fields have more bytes than are accepted here")


cdef list answer_fields(int status, bytes lines):
    return [status_field(status), *fields_of(lines)]


cdef tuple status_field(int status):
    found = STATUS_FIELDS.get(status)
    if found is None:
        found = STATUS_FIELDS[status] = (TOKEN_STATUS, b":status", b"%d" % status)
    return found


cdef list fields_of(bytes lines):
    """Convert lines to fields; the results are kept, as most answers of a method have the same lines."""
    cdef object known = KNOWN_FIELDS.get(lines)
    if known is not None:
        return <list>known
    fields = cut_fields(lines)
    if PyBytes_GET_SIZE(lines) <= KNOWN_BYTES:
        if len(KNOWN_FIELDS) >= MOST_KNOWN:
            KNOWN_FIELDS.clear()
            KNOWN_TEMPLATES.clear()
        KNOWN_FIELDS[lines] = fields
    return fields


cdef object line_fields(bytes lines):
    cdef object template = KNOWN_TEMPLATES.get(lines)
    if template is not None:
        return template
    if lines not in KNOWN_FIELDS:
        # The lines occur for the first time. Lines that differ each time need no template.
        return fields_of(lines)
    template = KNOWN_TEMPLATES[lines] = HeaderTemplate([(name, value) for _, name, value in fields_of(lines)])
    return template


cdef list cut_fields(bytes lines):
    cdef list fields = []
    cdef bytes name
    cdef int token
    for line in lines.splitlines():
        name, _, value = line.partition(b": ")
        name = name.lower()
        token = token_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        if not (TOKEN_CONNECTION <= token <= TOKEN_UPGRADE or token == TOKEN_TRANSFER_ENCODING):
            # Blanks at the ends of a value, which HTTP/1.1 ignores, would be malformed (RFC 9113, section 8.2.1).
            fields.append((token, name, value.strip(b" \t")))
    return fields


cdef int put_response(Http2Sender sender, int status, object fields, int64_t size) except -1:
    if status == 200:
        sender.out.reserve(1)[0] = <char>STATUS_OK
    else:
        sender.encoder.put(sender.out, TOKEN_STATUS, b":status", status_field(status)[2], INDEXING_TABLE)
    put_date(sender)
    if type(fields) is HeaderTemplate:
        sender.put_fields(<HeaderTemplate>fields, None)
    else:
        sender.put_fields(None, <list>fields)
    return put_length(sender.out, size) if size >= 0 else 0


cdef int put_date(Http2Sender sender) except -1:
    """Write the date. Its encoded block is kept, as it refers only to the static table."""
    global written_date, date_block
    cdef bytes date = response_date()
    cdef Py_ssize_t at = sender.out.size, size
    if date is written_date:
        size = PyBytes_GET_SIZE(date_block)
        memcpy(sender.out.reserve(size), PyBytes_AS_STRING(date_block), <size_t>size)
        return 0
    sender.encoder.put(sender.out, TOKEN_DATE, b"date", date, INDEXING_NONE)
    # The pointer is valid until the buffer changes.
    date_block = PyBytes_FromStringAndSize(sender.out.data() + at, sender.out.size - at)
    written_date = date
    return 0


cdef int put_length(WriteBuffer out, int64_t size) except -1:
    """Write a content-length."""
    cdef char[SIZE_DIGITS] digits
    cdef int count = put_digits(digits + SIZE_DIGITS, size)
    cdef char* place = out.reserve(3 + count)
    place[0] = LENGTH_FIRST
    place[1] = LENGTH_SECOND
    place[2] = <char>count
    memcpy(place + 3, digits + SIZE_DIGITS - count, <size_t>count)
    return 0
