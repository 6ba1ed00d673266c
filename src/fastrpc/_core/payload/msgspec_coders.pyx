"""Wrappers around msgspec's coders: for payloads that are one `bytes` value, and for defaults of plain dataclasses.

A large `bytes` value, or its payload, is stored in pooled memory: fresh memory costs a page fault for each 4 KiB, which
takes longer than the copy. `make promises ARGS=files` measures the gain.

If a field of a dataclass is missing, msgspec sets nothing on the object, whose attribute is then the default in the
class. But msgspec encodes the object's `__dict__`: a forwarded value would lose the field, and the next reader would
apply its own default. Therefore fillers set all fields of each such object. They form a graph like the types
(`rpc/schema/defaults.py`); a type without such dataclasses has no filler.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport SMALLEST_BLOCK, copied, new_block

cdef enum:
    # Lead bytes of msgpack: https://github.com/msgpack/msgpack/blob/master/spec.md
    BIN8 = 0xC4
    BIN16 = 0xC5
    BIN32 = 0xC6

cdef enum:
    UNDEFINED
    # The kinds of decoded values to traverse.
    OBJECT
    TYPED_DICT
    MAP
    COLLECTION
    PLACES
    UNION

cdef dict KINDS = {
    "object": OBJECT,
    "typed dict": TYPED_DICT,
    "map": MAP,
    "collection": COLLECTION,
    "places": PLACES,
    "union": UNION,
}

cdef extern from "Python.h":
    object PyObject_GenericGetDict(object value, void* context)


@cython.final
cdef class BytesDecoder:
    def __init__(self, otherwise not None):
        self.otherwise = otherwise

    def __call__(self, payload):
        cdef const unsigned char* data
        cdef Py_ssize_t size, width, length = 0, at
        if PyBytes_CheckExact(payload):
            data = <const unsigned char*>PyBytes_AS_STRING(payload)
            size = PyBytes_GET_SIZE(payload)
            # An empty payload has a first byte, too: bytes objects end with a zero byte that may be read.
            width = 1 if data[0] == BIN8 else 2 if data[0] == BIN16 else 4 if data[0] == BIN32 else 0
            if width and size > width:
                for at in range(1, width + 1):
                    length = length << 8 | data[at]
                if length == size - 1 - width:
                    return copied(<const char*>data + 1 + width, length)
        # The payload has another type or length, or bytes after its value: the other decoder decodes it or raises the
        # error.
        return self.otherwise(payload)


@cython.final
cdef class BytesEncoder:
    def __init__(self, otherwise not None):
        self.otherwise = otherwise

    def __call__(self, value):
        cdef bytes payload
        cdef char* data
        cdef Py_ssize_t size, width, at
        if not PyBytes_CheckExact(value) or not SMALLEST_BLOCK <= PyBytes_GET_SIZE(value) <= <uint32_t>0xFFFFFFFF:
            return self.otherwise(value)
        size = PyBytes_GET_SIZE(value)
        width = 2 if size <= 0xFFFF else 4
        payload = new_block(1 + width + size)
        data = PyBytes_AS_STRING(payload)
        data[0] = <char>(BIN16 if width == 2 else BIN32)
        for at in range(width):
            data[1 + at] = <char>(size >> 8 * (width - 1 - at) & 0xFF)
        memcpy(data + 1 + width, PyBytes_AS_STRING(value), size)
        return payload


@cython.final
cdef class DefaultFiller:
    def define(self, kind, *, cls=None, parts=None, defaults=None, each=None, keys=None, by_class=None):
        self._kind = KINDS[kind]
        self.cls = cls
        self._names = tuple(parts or ())
        self._parts = tuple((parts or {}).values())
        self._defaults = defaults
        self._each = each
        self._keys = keys
        self._by_class = by_class

    def __call__(self, value):
        self.fill(value)
        return value

    cdef int fill(self, object value) except -1:
        # The recursion is as deep as the value, whose depth the pre-scan has limited. Values of other types are
        # skipped.
        cdef object found
        if self._kind == UNION:
            found = self._by_class.get(type(value))
            return 0 if found is None else (<DefaultFiller>found).fill(value)
        if self._kind == OBJECT:
            return self._fill_object(value) if type(value) is self.cls else 0
        if self._kind == COLLECTION:
            return self._fill_each(value) if isinstance(value, (list, tuple, set, frozenset)) else 0
        if self._kind == PLACES:
            return self._fill_places(value) if isinstance(value, tuple) else 0
        return self._fill_map(value) if isinstance(value, dict) else 0

    cdef int _fill_object(self, object value) except -1:
        cdef dict fields
        cdef Py_ssize_t at
        if self._defaults is not None:
            fields = <dict>PyObject_GenericGetDict(value, NULL)
            for name, (default, factory, is_required) in self._defaults.items():
                if name in fields:
                    continue
                if is_required:
                    from msgspec import ValidationError

                    raise ValidationError(f"Object missing required field `{name}`")
                fields[name] = default if factory is None else factory()
        for at in range(len(self._names)):
            (<DefaultFiller>self._parts[at]).fill(getattr(value, self._names[at]))
        return 0

    cdef int _fill_map(self, dict value) except -1:
        cdef Py_ssize_t at
        if self._kind == TYPED_DICT:
            for at in range(len(self._names)):
                if self._names[at] in value:
                    (<DefaultFiller>self._parts[at]).fill(value[self._names[at]])
            return 0
        for key, part in value.items():
            if self._keys is not None:
                self._keys.fill(key)
            if self._each is not None:
                self._each.fill(part)
        return 0

    cdef int _fill_each(self, object value) except -1:
        for part in value:
            self._each.fill(part)
        return 0

    cdef int _fill_places(self, object value) except -1:
        cdef Py_ssize_t at, place
        for at in range(len(self._names)):
            place = self._names[at]
            if place < len(value):
                (<DefaultFiller>self._parts[at]).fill(value[place])
        return 0


@cython.final
cdef class FillingDecoder:
    def __init__(self, decode not None, DefaultFiller filler not None):
        self._decode = decode
        self._filler = filler

    def __call__(self, payload):
        value = self._decode(payload)
        self._filler.fill(value)
        return value
