"""Stores the defaults of plain dataclasses in decoded objects."""

cimport cython


@cython.final
cdef class DefaultFiller:
    cdef:
        # How a value is gone through, and its own class if it is an object with fields. Set once, by `define`, as types
        # may refer to themselves.
        int _kind
        readonly object cls

        # Of an object or a typed dict: where its parts are, and who goes through each.
        tuple _names
        tuple _parts

        # Of an object: the defaults that may be missing in its dict, {name: (value, factory)}.
        dict _defaults

        # Of a union: {class of a value: who goes through it}. Of a collection or a map: who goes through all of its
        # values, or its keys.
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
        # payload -> value, and who goes through the value.
        object _decode
        DefaultFiller _filler
