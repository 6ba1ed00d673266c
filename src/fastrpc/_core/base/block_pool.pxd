from cpython.ref cimport PyObject

cdef enum:
    # Allocating a smaller payload is cheaper than searching the pool.
    SMALLEST_BLOCK = 32_768

cdef PyObject* used_block(Py_ssize_t size) except? NULL
cdef int keep_block(PyObject* block) except -1

cdef bytes copied(const char* data, Py_ssize_t size)
cdef bytes new_block(Py_ssize_t size)
