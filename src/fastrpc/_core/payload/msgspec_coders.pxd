"""Coders around msgspec's: for payloads that are one `bytes` value, and for the defaults of plain dataclasses."""

cimport cython


@cython.final
cdef class BytesDecoder:
    cdef:
        # The decoder of payloads that are not exactly one `bytes` value; never changes.
        readonly object otherwise


@cython.final
cdef class BytesEncoder:
    cdef:
        # The encoder of all other values; never changes.
        readonly object otherwise


@cython.final
cdef class DefaultFiller:
    cdef:
        # The kind of the walk, and the class of an object with fields. Set once, by `define`, as types may refer to
        # themselves.
        int _kind
        readonly object cls

        # For an object or a typed dict: the places of its parts, and the walker of each.
        tuple _names
        tuple _parts

        # For an object: the defaults that may be missing in its dict, {name: (value, factory)}.
        dict _defaults

        # For a union: {class of a value: its walker}. For a collection or a map: the walkers of its values and keys.
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
        # payload -> value, and the walker of the value.
        object _decode
        DefaultFiller _filler
