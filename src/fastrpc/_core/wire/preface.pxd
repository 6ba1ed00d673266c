# Whether bytes begin a preface; what those are that do not; what is wrong with a preface.
cdef bint begins_with_magic(const char* data, Py_ssize_t size) noexcept
cdef str stranger_of(bytes first, bint is_client)
cdef str version_problem(const char* data, bint is_client)
