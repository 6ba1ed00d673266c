"""The functions that a codec prepared for one method, and the layout of its payloads."""

cimport cython

from fastrpc._core.base.codec_numbers cimport CODEC_PROTOBUF, CODEC_RAW
from fastrpc._core.payload.prescan cimport PRESCAN_JSON, PRESCAN_MSGPACK


@cython.final
cdef class PayloadCoders:
    def __init__(
        self,
        str codec not None,
        int codec_id,
        *,
        tuple encode not None,
        tuple decode not None,
        tuple exact,
        open not None,
        tuple items not None,
        tuple scan not None,
    ):
        self.codec = codec
        self.codec_id = codec_id
        self.encode_arguments, self.encode_result, self.encode_message = encode
        self.decode_result, self.decode_message = decode
        self.exact = exact
        self.open = open
        self.items = items
        self.scan_arguments, self.scan_result, self.scan_message = scan

    def read_by(self, arguments not None, result not None, message not None):
        self.read_arguments, self.read_result, self.read_message = arguments, result, message
        return self


cdef int layout_of(PayloadCoders coders) noexcept:
    cdef int codec_id = coders.codec_id
    if coders.read_arguments is not None:
        return LAYOUT_READ
    if codec_id == PRESCAN_MSGPACK:
        return LAYOUT_MSGPACK
    if codec_id == PRESCAN_JSON:
        return LAYOUT_JSON
    if codec_id == CODEC_RAW:
        return LAYOUT_RAW
    if codec_id == CODEC_PROTOBUF:
        return LAYOUT_MESSAGE
    return LAYOUT_OTHER


cdef int check_layout(
    str method, ArgumentShape shape, PayloadCoders coders, bint by_name, bint is_value
) except -1:
    """Refuse arguments that a codec cannot carry, or not in that form."""
    cdef int layout = layout_of(coders)
    if by_name and (shape is None or layout > LAYOUT_JSON):
        raise ValueError(f"{method} has no names for codec {coders.codec}")
    if is_value and layout > LAYOUT_JSON:
        raise ValueError(f"{method}: a payload of codec {coders.codec} has one form")
    if shape is not None and layout > LAYOUT_OTHER and len(shape.names) > 1:
        raise ValueError(f"{method} has {len(shape.names)} parameters; codec {coders.codec} carries one")
    return 0
