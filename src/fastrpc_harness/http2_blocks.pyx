"""Header blocks of HTTP/2 for Python code: Huffman code, tables, decoder and encoder. Violations are exceptions."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.http2.frames cimport RULE_COUNT, ends_connection, error_code, violation_text
from fastrpc._core.http2.header_block cimport (
    CHECKED_AS_REQUEST,
    CHECKED_AS_RESPONSE,
    CHECKED_AS_TRAILERS,
    TOKEN_GRPC_TIMEOUT,
    DynamicTable,
    HeaderBlock,
    HeaderField,
    huffman_decode,
    huffman_encode,
    huffman_size,
    keep_note,
    made_field,
    most_decoded,
    token_names,
    token_of,
)
from fastrpc._core.http2.hpack cimport INDEXING_NONE, HeaderTemplate, HpackDecoder, HpackEncoder, indexing_of


class Http2ViolationError(Exception):

    def __init__(self, rule, text):
        super().__init__(text)
        self.rule = rule
        self.code = error_code(rule)
        self.is_of_connection = bool(ends_connection(rule))


cdef object violation_error(const Violation* violation):
    return Http2ViolationError(violation.rule, violation_text(violation))


def violation_rows():
    """Return by the number of each rule: whether its violation ends the connection, the error code, the text."""
    cdef Violation violation
    cdef dict rows = {}
    violation.found, violation.allowed = 7_001, 7_002
    for rule in range(1, RULE_COUNT):
        violation.rule = rule
        rows[rule] = bool(ends_connection(rule)), error_code(rule), violation_text(&violation)
    return rows


def encode_huffman(bytes data not None):
    """Return the Huffman code of bytes, padded to whole bytes."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef bytes coded = PyBytes_FromStringAndSize(NULL, huffman_size(PyBytes_AS_STRING(data), size))
    # No other code has a reference yet, so it may still be written.
    huffman_encode(PyBytes_AS_STRING(data), size, PyBytes_AS_STRING(coded))
    return coded


def decode_huffman(bytes data not None):
    """Decode a Huffman code; return None if its padding is wrong or it contains EOS."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef bytearray room = bytearray(most_decoded(size))
    cdef Py_ssize_t decoded = huffman_decode(PyBytes_AS_STRING(data), size, room)
    return None if decoded < 0 else bytes(room[:decoded])


def token_name(int token):
    """Return the field name of a token; None for token 0."""
    return token_names[token]


def name_token(bytes name not None):
    """Return the token of a field name; 0 if it has none."""
    return token_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))


def field_rule(bytes name not None, bytes value not None):
    """Return the number of the rule that a field breaks; 0 if it breaks none."""
    return made_field(name, value).rule


def table_fields(DynamicTable table not None):
    """Return the fields of a table, newest first."""
    cdef list found = []
    cdef Py_ssize_t index
    for index in range(table.count):
        # The table keeps it meanwhile.
        field = <HeaderField>table.get(index)
        found.append((field.name, field.value))
    return found


def add_field(DynamicTable table not None, bytes name not None, bytes value not None):
    """Insert a field; the oldest fields are removed until there is room."""
    table.insert(made_field(name, value))


def set_capacity(DynamicTable table not None, Py_ssize_t capacity):
    """Change the size limit of a table; the oldest fields are removed until the rest fits."""
    table.resize(capacity)


def note_of(HeaderBlock block not None, Py_ssize_t index, object note=None):
    """Return the note of a field of a block; if `note` is not None, set it before."""
    cdef HeaderField field = block.fields[index]
    if note is not None:
        keep_note(field, note)
    return field.note


def pairs_of(HeaderBlock block not None):
    """Return the names and values of a block in their order."""
    return [(field.name, field.value) for field in block.fields]


def value_of(HeaderBlock block not None, int token):
    """Return the value of the first field with a token, or None."""
    cdef HeaderField found = block.field(token)
    return None if found is None else found.value


def length_of(HeaderBlock block not None):
    """Return the value of content-length, or -1 without one. The block must break no rule."""
    return block.content_length()


def broken_rule(HeaderBlock block not None, str kind not None):
    """Return the number of the rule that a block breaks as "request", "response" or "trailers"; 0 for none."""
    if kind == "request":
        return block.check(CHECKED_AS_REQUEST)
    return block.check(CHECKED_AS_RESPONSE if kind == "response" else CHECKED_AS_TRAILERS)


def twin_of(HeaderBlock block not None):
    """Return the known block that differs from this block only in its timeout, or None."""
    return block.twin


def decode_block(HpackDecoder decoder not None, bytes data not None):
    """Decode a whole block, or raise Http2ViolationError."""
    cdef Violation violation
    cdef HeaderBlock block = decoder.decode(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &violation)
    if block is None:
        raise violation_error(&violation)
    return block


def limit_decoder(HpackDecoder decoder not None, Py_ssize_t limit):
    """Apply a table limit that the peer has acknowledged."""
    decoder.limit_table(limit)


def encode_block(HpackEncoder encoder not None, pairs, HeaderTemplate template=None):
    """Return a block with the fields of the template and further fields, each indexed by its policy."""
    cdef WriteBuffer out = WriteBuffer()
    cdef bytes name, value
    cdef int token
    encoder.begin(out)
    if template is not None:
        encoder.put_template(out, template)
    for name, value in pairs:
        token = token_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        encoder.put(out, token, name, value, indexing_of(token, name))
    return out.take()


def limit_encoder(HpackEncoder encoder not None, Py_ssize_t limit):
    """Apply the peer's SETTINGS_HEADER_TABLE_SIZE."""
    encoder.limit_table(limit)


def decode_again(HpackDecoder decoder not None, bytes data not None, Py_ssize_t times):
    """Return the average time of decoding a block, in nanoseconds."""
    cdef Violation violation
    cdef Py_ssize_t _
    started = now_ns()
    for _ in range(times):
        decoder.decode(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &violation)
    return (now_ns() - started) / times


def encode_again(HpackEncoder encoder not None, HeaderTemplate template not None, bytes timeout not None, Py_ssize_t times):
    """Return the average time of encoding a template and grpc-timeout, in nanoseconds."""
    cdef WriteBuffer out = WriteBuffer()
    cdef bytes name = token_names[<int>TOKEN_GRPC_TIMEOUT]
    cdef Py_ssize_t _
    started = now_ns()
    for _ in range(times):
        out.clear()
        encoder.begin(out)
        encoder.put_template(out, template)
        encoder.put(out, TOKEN_GRPC_TIMEOUT, name, timeout, INDEXING_NONE)
    return (now_ns() - started) / times
