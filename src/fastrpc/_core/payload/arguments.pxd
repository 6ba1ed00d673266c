"""The arguments of one method: given, in the order of its parameters, bound for its handler; their names."""

cimport cython
from libc.stdint cimport uint64_t

cdef enum:
    # Names of positions above 255 are not sent.
    MOST_TOLD = 255


cdef inline Py_ssize_t told_count(uint64_t told) noexcept:
    """Return the number of positions that a names number covers."""
    return <Py_ssize_t>(told & 0xFF)


cdef class ParameterNames:
    cdef:
        # `names`: the names in order. `_numbers[k]`: the number for the first k names, for k = 0 … len(names). Number 0
        # states no names.
        readonly tuple names
        uint64_t* _numbers
        Py_ssize_t _count

        # The numbers of other accepted spellings.
        frozenset _others

    cdef bint _accepts_other(self, Py_ssize_t count, uint64_t told) except -1

    cdef inline bint accepts(self, uint64_t told) except -1:
        """Return whether the sent names are these names, or accepted instead of them."""
        cdef Py_ssize_t count = told_count(told)
        if count <= self._count and self._numbers[count] == told:
            return True
        return self._accepts_other(count, told)


# Return the server's error text for a call with other names. `answer_to_refusal` returns the caller's addition to that
# text, None if the text is another one.
cdef str refusal_text(str method, tuple names)
cdef str answer_to_refusal(str method, str text, tuple names)


@cython.final
cdef class BoundArguments:
    cdef:
        # The arguments of a handler that also has keyword arguments: it is called as handler(*args, **kwargs).
        readonly tuple args
        readonly dict kwargs


@cython.final
cdef class ArgumentShape:
    cdef:
        # The parameters in the payload, in order. The first `positional` parameters may be given by position, the first
        # `positional_only` of these only by position. required[i]: names[i] has no default.
        readonly tuple names
        readonly tuple required
        readonly Py_ssize_t positional
        readonly Py_ssize_t positional_only

        # The fewest positional arguments that suffice; more than `positional` if a keyword-only parameter is required.
        readonly Py_ssize_t shortest

        # `told`: the numbers for `names` in a REQUEST. `renamed`: the position of each former name.
        readonly ParameterNames told
        readonly dict renamed

        # A function that gets (args, kwargs) that do not fit and raises the TypeError of a local call.
        readonly object refuse

    # Return the value of each parameter, MISSING for omitted ones; None if the arguments do not fit.
    cdef list fit(self, tuple args, dict kwargs)

    # Return a tuple of positional arguments, or BoundArguments, for the values that `fit` returns. Missing values are
    # left to the handler's defaults. Raise a refusal if there is no default.
    cdef object bind(self, list values)

    # Return the index of the parameter for a map's key, or -1. `takes_digits`: "0" is a position, too, for codecs such
    # as JSON, whose keys are always text.
    cdef Py_ssize_t position_of(self, object key, bint takes_digits) except -2

    cdef str takes_text(self)


# Split a map, for a method without a signature, into positions and names.
cdef object split_untyped(dict items)

# Return the error for arguments that never reached the handler, with INVALID_ARGUMENT or another status.
cdef object refusal(str message, str hint=*, object status=*)
