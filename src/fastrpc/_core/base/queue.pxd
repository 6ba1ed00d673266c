cdef class Queue:
    cdef:
        # A deque that is not empty, or None.
        object _items

    cpdef int append(self, object item) except -1
    cpdef int appendleft(self, object item) except -1
    cpdef object popleft(self)
    cpdef int remove(self, object item) except -1
    cpdef int replace(self, list items) except -1
