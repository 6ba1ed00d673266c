"""Arguments and results of one method <-> payload, prepared for one codec.

::

    ArgumentShape     the arguments of a method                }
    PayloadCoders     the codec's prepared parts (`coders`)    }  -> Marshal

A payload of arguments is an array in parameter order, without stream parameters, or a map whose keys are names and
positions. Raw bytes and encoded protobuf messages are payloads themselves.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE

from fastrpc._core.base.results cimport PyObject_CallOneArg, as_result
from fastrpc._core.payload.arguments cimport ArgumentShape, refusal, split_untyped
from fastrpc._core.payload.coders cimport (
    LAYOUT_JSON,
    LAYOUT_MESSAGE,
    LAYOUT_MSGPACK,
    LAYOUT_OTHER,
    LAYOUT_RAW,
    LAYOUT_READ,
    LAYOUT_VALUE,
    LONG_PAYLOAD,
    PayloadScan,
    check_layout,
    details_scan,
    layout_of,
    scan_hint,
    scan_limit,
    scan_text,
    weight_of,
)
from fastrpc._core.payload.double_keys cimport double_key
from fastrpc._core.payload.prescan cimport PRESCAN_JSON, PRESCAN_MSGPACK, PRESCAN_OK, PRESCAN_TOO_MANY_ITEMS

from fastrpc._core.payload.arguments import MISSING as NO_ARGUMENT
from fastrpc._core.payload.arguments import described_error
from fastrpc.errors import CallError, CodecError, DecodeError, EncodeError
from fastrpc.status import Status

cdef enum Form:
    # The forms of arguments as one value. FORM_WHOLE: the only argument. FORM_NAMED: a map by name. FORM_EITHER: a map
    # by name, or else the only argument.
    FORM_WHOLE
    FORM_NAMED
    FORM_EITHER

cdef enum:
    # Lead bytes of msgpack: https://github.com/msgpack/msgpack/blob/master/spec.md
    FIXARRAY = 0x90
    FIXARRAY_LAST = 0x9F
    # The most entries of a map that is decoded for every method: so few keys cost little even if they collide.
    SHORT_MAP = 64

cdef dict FORMS = {"whole": FORM_WHOLE, "named": FORM_NAMED, "either": FORM_EITHER}
# By codec: NOTHING has the payload without a value, EMPTY_MAP the payload of an empty map.
cdef dict NOTHING = {PRESCAN_MSGPACK: b"\xc0", PRESCAN_JSON: b"null"}
cdef dict EMPTY_MAP = {PRESCAN_MSGPACK: b"\x80", PRESCAN_JSON: b"{}"}

# The errors of codecs for bytes that do not fit. Any other error is a mistake in the user's type and is not caught. Set
# by the first marshal: a client that makes no call does not load msgspec.
cdef tuple DECODE_FAILURES = None

# A C global, since an imported name would be looked up in the module's dictionary at each use.
cdef object MISSING = NO_ARGUMENT


cdef int load_failures() except -1:
    global DECODE_FAILURES
    if DECODE_FAILURES is None:
        # In msgspec before 0.21 its errors are not ValueErrors.
        from msgspec import MsgspecError

        DECODE_FAILURES = (ValueError, TypeError, OverflowError, RecursionError, CodecError, MsgspecError)
    return 0


@cython.final
cdef class Marshal:
    def __init__(
        self,
        str method not None,
        ArgumentShape shape,
        PayloadCoders coders not None,
        *,
        int depth,
        Py_ssize_t items,
        str by_value=None,
        bint by_name=False,
    ):
        load_failures()
        check_layout(method, shape, coders, by_name, by_value is not None)
        if depth < 1 or items < 1:
            raise ValueError(f"depth is {depth} and items is {items}; both must be 1 or more")
        self.method = method
        self.shape = shape
        self.coders = coders
        self.codec_id = coders.codec_id
        self._layout = layout_of(coders)
        if by_value is not None:
            self._layout = LAYOUT_VALUE
            self._form = FORMS[by_value]
        self._shortest = 0 if shape is None else shape.shortest
        self._positional = cython.cast(Py_ssize_t, 1 << 30) if shape is None else shape.positional
        self._encode, self._encode_result = coders.encode_arguments, coders.encode_result
        self._decode_result = coders.decode_result
        # Prepared decoders for positions do not fit arguments by name.
        self.by_name = by_name
        self._exact = () if by_name else coders.exact or ()
        self._takes_bytes = self._layout == LAYOUT_RAW and (
            shape is None or (len(shape.names) == 1 and shape.positional == 1)
        )
        self._scan_arguments = self._scan_opened = coders.scan_arguments
        self._scan_result = coders.scan_result
        self._scan_message = coders.scan_message
        if self._scan_opened is None and (self._layout <= LAYOUT_JSON or self._layout == LAYOUT_VALUE):
            self._scan_opened = PayloadScan(coders.codec_id)
        self._depth = depth
        self._item_limit = items

    def __repr__(self):
        return f"<Marshal {self.method} {self.coders.codec}>"

    cpdef object encode_arguments(self, tuple args, dict kwargs):
        cdef uint64_t _names
        return self.encode_call(args, kwargs, &_names)

    @cython.nonecheck(False)
    cdef object encode_call(self, tuple args, dict kwargs, uint64_t* names):
        cdef Py_ssize_t count
        names[0] = 0
        if args is None:
            raise TypeError("args must be a tuple")
        count = PyTuple_GET_SIZE(args)
        if not kwargs and self._shortest <= count <= self._positional and self._layout <= LAYOUT_OTHER:
            names[0] = self.names_at(count)
            return _encoded_arguments(self, args, args, kwargs)
        if self._takes_bytes and count == 1 and not kwargs and PyBytes_CheckExact(args[0]):
            return args[0]
        return self._encode_slowly(args, kwargs or {}, names)

    @cython.nonecheck(False)
    cdef uint64_t names_at(self, Py_ssize_t count) noexcept:
        """Return the number for the names of arguments that fill the first `count` positions, or some of these."""
        # The names of a method known only by name are unknown; raw bytes and messages have no positions.
        if self.shape is None or self._layout > LAYOUT_OTHER:
            return 0
        return self.shape.told._numbers[count]

    @cython.nonecheck(False)
    cpdef object decode_arguments(self, object payload):
        cdef unsigned char first
        cdef PyObject* decode
        if self._layout == LAYOUT_MSGPACK and PyBytes_CheckExact(payload) and PyBytes_GET_SIZE(payload) > 0:
            first = <unsigned char> PyBytes_AS_STRING(payload)[0]
            if FIXARRAY <= first <= FIXARRAY_LAST and first - FIXARRAY < PyTuple_GET_SIZE(self._exact):
                # Borrowed from the tuple, which this object keeps and which is immutable.
                decode = PyTuple_GET_ITEM(self._exact, first - FIXARRAY)
                if decode != <PyObject*> None:
                    self.charge = PyBytes_GET_SIZE(payload)
                    if self._scan_arguments is not None:
                        self._scan_or_refuse(self._scan_arguments, payload, "the arguments")
                    elif self.charge > LONG_PAYLOAD:
                        self.charge = weight_of(PRESCAN_MSGPACK, payload)
                    return _decoded(self, <object> decode, payload)
        if self._takes_bytes and PyBytes_CheckExact(payload):
            self.charge = PyBytes_GET_SIZE(payload)
            return (payload,)
        return self._decode_slowly(payload)

    @cython.nonecheck(False)
    cpdef object encode_result(self, object value):
        if self._layout >= LAYOUT_RAW:
            return self._encode_single(self._encode_result, value, "the result")
        return _encoded(self, self._encode_result, value, "the result")

    @cython.nonecheck(False)
    cpdef object decode_result(self, object payload):
        cdef int found = PRESCAN_OK
        cdef PyObject* decoded = NULL
        if self._layout == LAYOUT_RAW:
            return _as_bytes(payload)
        if self._layout == LAYOUT_READ:
            decoded = PyObject_CallOneArg(self.coders.read_result, payload)
            if decoded is NULL:
                return _raise_result_refused(self, found)
            payload, decoded = as_result(decoded), NULL
        if self._scan_result is not None:
            found = self._scan_result.find(payload, self._depth, self._item_limit, &self.charge)
        if found == PRESCAN_OK:
            decoded = PyObject_CallOneArg(self._decode_result, payload)
        return _raise_result_refused(self, found) if decoded is NULL else as_result(decoded)

    cdef int check_result(self, object value, bytes payload) except -1:
        cdef object decoded
        if self._layout == LAYOUT_RAW or self._decode_result is None:
            return 0
        try:
            # Not `decode_result`, which applies the limits for payloads of a peer.
            if self._layout == LAYOUT_READ:
                payload = self.coders.read_result(payload)
            decoded = self._decode_result(payload)
        except Exception as error:
            raise TypeError(f"{self.method}: {described_error(error, 'result', (), quotes=True)}") from None
        if self._layout == LAYOUT_MESSAGE and type(decoded) is not type(value):
            # Different kinds of messages may have the same bytes.
            expected, got = type(decoded).__name__, type(value).__name__
            raise TypeError(f"{self.method}: result: expected `{expected}`, got `{got}`")
        return 0

    cpdef object encode_message(self, object value):
        if self._layout >= LAYOUT_RAW:
            return self._encode_single(self.coders.encode_message, value, "a message")
        return _encoded(self, self.coders.encode_message, value, "a message")

    cpdef object decode_message(self, object payload):
        cdef int codec_id = self.codec_id
        if self._layout == LAYOUT_RAW:
            self.charge = 0
            return _as_bytes(payload)
        if self._layout == LAYOUT_READ:
            codec_id = PRESCAN_MSGPACK
            payload = _decoded(self, self.coders.read_message, payload)
        if self._scan_message is not None:
            self._scan_or_refuse(self._scan_message, payload, "the message")
        else:
            self.charge = weight_of(codec_id, payload)
        try:
            return self.coders.decode_message(payload)
        except Exception as error:
            raise refusal(described_error(error, "message", ())) from None

    cdef object _encode_slowly(self, tuple args, dict kwargs, uint64_t* names):
        """Encode arguments given by name, or a single whole payload; refuse arguments that do not fit."""
        cdef object values
        if self.shape is None:
            return self._encode_untyped(args, kwargs)
        if self._layout <= LAYOUT_OTHER:
            return self._encode_by_name(args, kwargs, names)
        values = self.shape.fit(args, kwargs)
        if values is None:
            self.shape.refuse(args, kwargs)
            raise TypeError(f"the arguments do not fit {self.method}")
        if self._layout == LAYOUT_VALUE:
            return self._encode_value(values, args, kwargs)
        if not values or values[0] is MISSING:
            return b""
        return self._encode_single(self._encode, values[0], f"argument {self.shape.names[0]}")

    cdef object _encode_by_name(self, tuple args, dict kwargs, uint64_t* names):
        """Encode an array if the given values fill the first positions, otherwise a map; omit defaults."""
        cdef list values = self.shape.fit(args, kwargs)
        # `given`: the number of given values. `leading`: how many of them fill the first positions. `reached`: the
        # number of positions up to the last given value.
        cdef Py_ssize_t at, given = 0, leading = 0, reached = 0
        cdef dict named
        if values is None:
            self.shape.refuse(args, kwargs)
            raise TypeError(f"the arguments do not fit {self.method}")
        for at in range(len(values)):
            if values[at] is not MISSING:
                given += 1
                if at < self.shape.positional:
                    reached = at + 1
                    if leading == at:
                        leading = reached
        names[0] = self.names_at(reached)
        if given == leading:
            return _encoded_arguments(self, tuple(values[:leading]), args, kwargs)
        # The key of a parameter with a position is the position, of a keyword-only parameter its name.
        named = {}
        for at in range(len(values)):
            if values[at] is not MISSING:
                named[at if at < self.shape.positional else self.shape.names[at]] = values[at]
        return _encoded_arguments(self, named, args, kwargs)

    cdef object _encode_value(self, list values, tuple args, dict kwargs):
        """Encode arguments as one value: a single argument unchanged, others as a map by name; omit defaults."""
        if self._form != FORM_NAMED:
            return _encoded_arguments(self, None if values[0] is MISSING else values[0], args, kwargs)
        named = {name: value for name, value in zip(self.shape.names, values) if value is not MISSING}
        return _encoded_arguments(self, named or None, args, kwargs)

    cdef object _encode_untyped(self, tuple args, dict kwargs):
        """Encode arguments of a method known only by name."""
        if self._layout >= LAYOUT_RAW:
            if kwargs or len(args) > 1:
                codec = self.coders.codec
                raise TypeError(f"{self.method} by codec {codec} takes one value, given by position")
            return self._encode_single(self._encode, args[0], "the argument") if args else b""
        if self._layout == LAYOUT_VALUE and (len(args) > 1 or (args and kwargs)):
            raise TypeError(f"{self.method} takes one value, given by position, or values by name")
        if self._layout == LAYOUT_VALUE:
            return _encoded_arguments(self, args[0] if args else kwargs or None, args, kwargs)
        if args and kwargs:
            return _encoded_arguments(self, {**dict(enumerate(args)), **kwargs}, args, kwargs)
        return _encoded_arguments(self, kwargs if kwargs else args, args, kwargs)

    cdef object _encode_single(self, object encode, object value, str part):
        """Return the payload for one value that is the whole payload."""
        if self._layout == LAYOUT_RAW:
            if PyBytes_CheckExact(value):
                return value
            if isinstance(value, (bytes, bytearray, memoryview)):
                return _as_bytes(value)  # a copy: nothing is shared between caller and handler
            raise EncodeError(f"{self.method}: {part} is {type(value).__name__}, raw payload is bytes")
        return _encoded(self, encode, value, part)

    cdef object _decode_slowly(self, object payload):
        """Decode maps, JSON, payloads of one value, and arrays of another length or of more than 15 items."""
        cdef object opened
        self.charge = weight_of(self.codec_id, payload) if self._scan_arguments is None else len(payload)
        if self.by_name:
            return self._decode_named(payload)
        if self._layout == LAYOUT_READ:
            return self._decode_read(<bytes?>_decoded(self, self.coders.read_arguments, payload))
        if self._layout >= LAYOUT_RAW:
            return self._decode_single(payload)
        if self._layout == LAYOUT_VALUE:
            return self._decode_value(payload)
        if self._layout == LAYOUT_JSON and self._exact:
            opened = self._decode_exactly(payload)
            if opened is not None:
                return opened
        return self._decode_opened(payload)

    cdef object _decode_read(self, bytes plain):
        """Return the arguments from an array or a map that was converted from a payload in another form."""
        cdef Py_ssize_t count = <unsigned char>PyBytes_AS_STRING(plain)[0] - FIXARRAY
        self.charge = weight_of(PRESCAN_MSGPACK, plain) if self._scan_arguments is None else PyBytes_GET_SIZE(plain)
        if not 0 <= count < len(self._exact) or self._exact[count] is None:
            return self._decode_opened(plain)
        if self._scan_arguments is not None:
            self._scan_or_refuse(self._scan_arguments, plain, "the arguments")
        return _decoded(self, self._exact[count], plain)

    cdef object _decode_opened(self, object payload):
        """Return the arguments from an array or a map."""
        cdef object opened
        if self._scan_opened is not None:
            self._scan_or_refuse(self._scan_opened, payload, "the arguments")
            self._refuse_long_map(payload)
        opened = _decoded(self, self.coders.open, payload)
        if isinstance(opened, dict):
            return self._decode_map(opened)
        if isinstance(opened, (list, tuple)):
            return self._decode_list(opened)
        raise refusal(f"the arguments are {type(opened).__name__}, they must be an array or a map")

    cdef object _decode_value(self, object payload):
        """Return the arguments from one value. For a method without parameters the value is scanned and dropped."""
        if self.shape is None:
            self._scan_or_refuse(self._scan_opened, payload, "the argument")
            return (self.coders.open(payload),)
        if not self.shape.names:
            if len(payload):
                self._scan_or_refuse(self._scan_opened, payload, "the argument")
            return ()
        if self._form == FORM_NAMED or (self._form == FORM_EITHER and _is_map(payload, self.codec_id)):
            return self._decode_opened(EMPTY_MAP[self.codec_id] if payload == NOTHING[self.codec_id] else payload)
        if self._scan_arguments is not None:
            self._scan_or_refuse(self._scan_arguments, payload, "the argument")
        try:
            return self._bind([self.coders.items[0](payload)])
        except DECODE_FAILURES as error:
            if payload == NOTHING[self.codec_id]:
                # Go decodes an empty payload as the zero value of a struct.
                try:
                    return self._bind([self.coders.items[0](EMPTY_MAP[self.codec_id])])
                except DECODE_FAILURES:
                    pass  # The first error is clearer.
            raise refusal(described_error(error, self.shape.names[0], ())) from None

    cdef object _decode_exactly(self, object payload):
        """Return a tuple for a JSON array of the only fitting length; None for a map or another length."""
        if self._scan_arguments is not None:
            self._scan_or_refuse(self._scan_arguments, payload, "the arguments")
        try:
            return self._exact[self._positional](payload)
        except DECODE_FAILURES as error:
            # If the error has no place, the outermost value does not fit, or the payload is not JSON.
            if " - at " in str(error):
                raise _arguments_refused(self, error) from None
        return None

    cdef object _decode_named(self, object payload):
        """Return the arguments from a map by name; an empty payload has no arguments."""
        cdef object opened
        self.was_opened = not payload
        if not payload:
            return self._bind([MISSING] * len(self.shape.names))
        self._scan_or_refuse(self._scan_opened, payload, "the arguments")
        found = double_key(self.codec_id, payload)
        if found is not None:
            raise refusal(f"{found!r:.100}: comes twice in one map")
        opened = _decoded(self, self.coders.open, payload)
        self.was_opened = isinstance(opened, dict)
        if self.was_opened:
            return self._decode_map(opened)
        raise refusal("the arguments are an array, they must be a map by the names of the parameters")

    cdef object _decode_single(self, object payload):
        """Return the only argument, which is the whole payload."""
        if self.shape is not None and not self.shape.names:
            if len(payload):
                raise refusal(f"takes no arguments, got {len(payload)} bytes")
            return ()
        if self._layout == LAYOUT_RAW:
            return self._bind([_as_bytes(payload)])
        if self._scan_arguments is not None:
            self._scan_or_refuse(self._scan_arguments, payload, "the arguments")
        try:
            if self.shape is None:
                return (self.coders.open(payload),)
            return self._bind([self.coders.items[0](payload)])
        except Exception as error:  # each protobuf library has its own error class
            name = "message" if self.shape is None else self.shape.names[0]
            raise refusal(described_error(error, name, ())) from None

    cdef object _decode_list(self, object items):
        cdef Py_ssize_t at, count = len(items)
        cdef list values
        if self.shape is None:
            return tuple(items)
        if count > len(self.shape.names):
            raise refusal(self.shape.arity_text(count))
        values = [MISSING] * len(self.shape.names)
        for at in range(count):
            values[at] = self._item(at, items[at])
        return self._bind(values)

    cdef object _decode_map(self, dict items):
        cdef Py_ssize_t at
        cdef list values
        cdef bint takes_digits = self.codec_id != PRESCAN_MSGPACK and not self.by_name
        if self.shape is None:
            return split_untyped(items)
        values = [MISSING] * len(self.shape.names)
        for key, item in items.items():
            at = self.shape.position_of(key, takes_digits) if not self.by_name or type(key) is str else -1
            if at < 0:
                raise refusal(
                    f"{key!r:.100}: {self.method} has no such parameter",
                    hint=f"its parameters are: {', '.join(self.shape.names) or 'none'}",
                )
            if values[at] is not MISSING:
                raise refusal(f"{self.shape.names[at]}: given by position and by name, or by two names")
            values[at] = self._item(at, item)
        return self._bind(values)

    cdef object _item(self, Py_ssize_t at, object item):
        try:
            return self.coders.items[at](item)
        except DECODE_FAILURES as error:
            raise refusal(described_error(error, self.shape.names[at], ())) from None

    cdef object _bind(self, list values):
        return tuple(values) if self.shape is None else self.shape.bind(values)

    cdef int _refuse_long_map(self, object payload) except -1:
        """Refuse a map with more arguments than parameters: its keys may be numbers chosen to collide."""
        cdef bytes head
        cdef Py_ssize_t count
        if self.shape is None or self.codec_id != PRESCAN_MSGPACK:
            return 0
        head = bytes(memoryview(payload)[:5])
        if head[:1] != b"\xde" and head[:1] != b"\xdf":
            return 0
        # The length of the map has 16 or 32 bits; the scan has checked that all its bytes are present.
        count = int.from_bytes(head[1:3] if head[:1] == b"\xde" else head[1:], "big")
        if count > max(len(self.shape.names), SHORT_MAP):
            raise refusal(self.shape.arity_text(count))
        return 0

    cdef int _scan_or_refuse(self, PayloadScan scan, object payload, str what) except -1:
        """Scan arguments or a message, and set `charge`."""
        cdef int found = scan.find(payload, self._depth, self._item_limit, &self.charge)
        if found == PRESCAN_OK:
            return 0
        raise refusal(
            scan_text(found, what, self._depth, self._item_limit, self.coders.codec) + scan_limit(found),
            hint=scan_hint(found),
            status=Status.RESOURCE_EXHAUSTED if found == PRESCAN_TOO_MANY_ITEMS else Status.INVALID_ARGUMENT,
        )

    cdef bint takes_details(self, bytes payload, int codec_id) except -1:
        """Return whether the details of an error are within the limits for all values."""
        cdef Py_ssize_t charge = 0
        return details_scan(codec_id).find(payload, self._depth, self._item_limit, &charge) == PRESCAN_OK


cdef bint _is_map(object payload, int codec_id) except -1:
    """Return whether a payload begins like a map."""
    cdef bytes begin = bytes(memoryview(payload)[:64])
    if codec_id == PRESCAN_JSON:
        return begin.lstrip()[:1] == b"{"
    return bool(begin) and (0x80 <= begin[0] <= 0x8F or begin[0] in (0xDE, 0xDF))


cdef bytes _as_bytes(object value):
    if PyBytes_CheckExact(value):
        return value
    return bytes(value)


# Calls of prepared functions. Separate functions raise errors, to keep them out of the fast path.

cdef object _raise_argument_failure(Marshal marshal, tuple args, dict kwargs):
    try:
        return as_result(NULL)
    except Exception as error:
        if isinstance(error, CallError):
            raise
        raise _argument_failure(marshal, args, kwargs or {}, error) from error


cdef inline object _encoded_arguments(Marshal marshal, object value, tuple args, dict kwargs):
    cdef PyObject* payload = PyObject_CallOneArg(marshal._encode, value)
    return _raise_argument_failure(marshal, args, kwargs) if payload is NULL else as_result(payload)


cdef object _raise_arguments_refused(Marshal marshal):
    try:
        return as_result(NULL)
    except DECODE_FAILURES as error:
        raise _arguments_refused(marshal, error) from None


cdef inline object _decoded(Marshal marshal, object decode, object payload):
    cdef PyObject* decoded = PyObject_CallOneArg(decode, payload)
    return _raise_arguments_refused(marshal) if decoded is NULL else as_result(decoded)


cdef object _raise_encode_failure(Marshal marshal, str part, object value):
    try:
        return as_result(NULL)
    except CallError:
        # An error of the program's own function, used instead of a codec, already has a status.
        raise
    except Exception as error:
        raise _encode_failure(marshal, part, value, error) from error


cdef inline object _encoded(Marshal marshal, object encode, object value, str part):
    cdef PyObject* payload = PyObject_CallOneArg(encode, value)
    return _raise_encode_failure(marshal, part, value) if payload is NULL else as_result(payload)


cdef object _raise_result_refused(Marshal marshal, int found):
    if found != PRESCAN_OK:
        text = scan_text(found, "the result", marshal._depth, marshal._item_limit, marshal.coders.codec)
        raise DecodeError(f"{marshal.method}: {text}")
    try:
        return as_result(NULL)
    except CallError:
        raise
    except Exception as error:
        raise DecodeError(f"{marshal.method}: {described_error(error, 'result', (), quotes=True)}") from error


cdef object _arguments_refused(Marshal marshal, object error):
    names = () if marshal.shape is None else marshal.shape.names
    return refusal(described_error(error, "", names))


cdef object _encode_failure(Marshal marshal, str part, object value, object error):
    """Return an EncodeError with the reason why a value cannot be encoded."""
    if isinstance(error, RecursionError):
        reason = "it is nested too deep, or contains itself"
    else:
        reason = str(error) or type(error).__name__
    kind, codec = type(value).__name__, marshal.coders.codec
    return EncodeError(f"{marshal.method}: {part}, of type {kind}, cannot be encoded as {codec}: {reason}")


cdef object _argument_failure(Marshal marshal, tuple args, dict kwargs, object error):
    """Return an EncodeError that names the first argument that cannot be encoded."""
    names = () if marshal.shape is None else marshal.shape.names
    given = [(names[at] if at < len(names) else str(at), value) for at, value in enumerate(args)]
    for name, value in [*given, *kwargs.items()]:
        try:
            marshal._encode(_alone(marshal, name, value))
        except Exception as cause:
            return _encode_failure(marshal, f"argument {name}", value, cause)
    return _encode_failure(marshal, "an argument", args, error)


cdef object _alone(Marshal marshal, str name, object value):
    """Return the arguments of a call with only this argument, whose position may decide its encoding."""
    if marshal.shape is None or marshal._layout == LAYOUT_OTHER:
        return (value,)
    if marshal._layout == LAYOUT_VALUE and marshal._form != FORM_NAMED:
        return value
    return {name: value}
