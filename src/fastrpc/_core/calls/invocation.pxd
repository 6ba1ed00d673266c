from cpython.object cimport PyObject

# `given`: a tuple of the arguments, the only one where that is bytes, or BoundArguments.
cdef object call_handler(object handler, object given)

# The same for who asks for the exception himself when NULL comes back.
cdef PyObject* start_handler(object handler, object given) noexcept
