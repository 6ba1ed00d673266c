"""Wrappers around msgspec's coders: for payloads that are one `bytes` value, and for defaults of plain dataclasses."""

cimport cython


@cython.final
cdef class BytesDecoder:
    cdef:
        # The decoder for payloads that are not exactly one `bytes` value; constant.
        readonly object otherwise


@cython.final
cdef class BytesEncoder:
    cdef:
        # The encoder for all other values; constant.
        readonly object otherwise


@cython.final
cdef class DefaultFiller:
    cdef:
        # `_kind`: the kind of values that this object traverses. `cls`: the class of an object with fields. Both are
        # set once, by `define`, because types may refer to themselves.
        int _kind
        readonly object cls

        # For an object or a typed dict. `_names`: the names of its parts. `_parts`: the filler of each part.
        tuple _names
        tuple _parts

        # For an object: the defaults that its dict may lack, {name: (value, factory)}.
        dict _defaults

        # `_by_class`: for a union {class of a value: its filler}. `_each`, `_keys`: for a collection or a map the
        # fillers of its values and of its keys.
        dict _by_class
        DefaultFiller _each
        DefaultFiller _keys

    cdef int fill(self, object value) except -1
    cdef int _fill_object(self, object value) except -1
    cdef int _fill_map(self, dict value) except -1
    cdef int _fill_each(self, object value) except -1
    cdef int _fill_places(self, object value) except -1


@cython.final
cdef class FillingDecoder:
    cdef:
        # `_decode`: the function that decodes a payload. `_filler`: the filler of its value.
        object _decode
        DefaultFiller _filler
