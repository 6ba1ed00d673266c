from cpython.object cimport PyObject

# `given`: a tuple of the arguments, a single bytes argument, or BoundArguments.
cdef object call_handler(object handler, object given)

# The same for a caller that fetches the exception itself after NULL.
cdef PyObject* start_handler(object handler, object given) noexcept
