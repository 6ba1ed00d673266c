"""The arguments of one method: given, in the order of its parameters, bound for its handler; their names."""

cimport cython
from libc.stdint cimport uint64_t

cdef enum:
    # Names of positions above 255 are not sent.
    MOST_TOLD = 255


cdef inline Py_ssize_t told_count(uint64_t told) noexcept:
    """Return the count of positions that a number covers."""
    return <Py_ssize_t>(told & 0xFF)


cdef class ParameterNames:
    cdef:
        # In order; _numbers[k] is the hash of the first k names, for k = 0 … len(names). The hash 0 states no names.
        readonly tuple names
        uint64_t* _numbers
        Py_ssize_t _count

        # The hashes of other accepted spellings.
        frozenset _others

    cdef bint _accepts_other(self, Py_ssize_t count, uint64_t told) except -1

    cdef inline bint accepts(self, uint64_t told) except -1:
        """Return whether the sent names are these, or accepted in their place."""
        cdef Py_ssize_t count = told_count(told)
        if count <= self._count and self._numbers[count] == told:
            return True
        return self._accepts_other(count, told)


# The server's error text for a call with other names; the caller's addition to that text, None for another text.
cdef str refusal_text(str method, tuple names)
cdef str answer_to_refusal(str method, str text, tuple names)


@cython.final
cdef class BoundArguments:
    cdef:
        # The handler is called as handler(*args, **kwargs): positions alone are not enough.
        readonly tuple args
        readonly dict kwargs


@cython.final
cdef class ArgumentShape:
    cdef:
        # The parameters in the payload, in order. The first `positional` may be given by position, the first
        # `positional_only` of them only by position. required[i]: names[i] has no default.
        readonly tuple names
        readonly tuple required
        readonly Py_ssize_t positional
        readonly Py_ssize_t positional_only

        # The fewest positional arguments that suffice; above `positional` if a keyword-only parameter is required.
        readonly Py_ssize_t shortest

        # The hashes of `names` for a REQUEST; the positions of former names.
        readonly ParameterNames told
        readonly dict renamed

        # Takes (args, kwargs) that do not fit, and raises the TypeError of a local call.
        readonly object refuse

    # Returns the value of each parameter, MISSING for omitted ones; None when the call does not fit.
    cdef list fit(self, tuple args, dict kwargs)

    # Takes the list of `fit`. Returns a tuple of positions, or BoundArguments; missing values are left to the handler's
    # defaults. Raises a refusal if there is no default.
    cdef object bind(self, list values)

    # Returns the index of the parameter that a map's key means, or -1. `takes_digits`: JSON and similar codecs have
    # only text keys, so "0" is a position, too.
    cdef Py_ssize_t position_of(self, object key, bint takes_digits) except -2

    cdef str takes_text(self)


# Splits a map without a signature into positions and names.
cdef object split_untyped(dict items)

# Returns the error of arguments that never reached the handler: INVALID_ARGUMENT, or another status.
cdef object refusal(str message, str hint=*, object status=*)
