cimport cython

cdef enum Priority:
    # The numbers in a REQUEST.
    PRIORITY_NORMAL = 0
    PRIORITY_SHEDDABLE = 1
    PRIORITY_HIGH = 2

cdef enum Rank:
    # The rank of each priority.
    RANK_HIGH
    RANK_NORMAL
    RANK_SHEDDABLE
    RANKS_IN_ALL


@cython.final
cdef class Queue:
    cdef:
        # A deque that is not empty, or None.
        object _items

    cpdef int append(self, object item) except -1
    cpdef int appendleft(self, object item) except -1
    cpdef object popleft(self)
    cpdef int remove(self, object item) except -1
    cpdef int replace(self, list items) except -1


@cython.final
cdef class PriorityQueue:
    cdef:
        # One queue per priority. The other two are None until an item of their priority waits.
        readonly Queue normal
        readonly Queue sheddable
        readonly Queue high

    cdef Queue of(self, int priority)
    cdef Queue at(self, int rank)
    cdef Queue first(self)
    cdef int first_rank(self) noexcept
    cdef list queues(self)

    cdef inline bint has_items(self) noexcept:
        return (
            self.normal._items is not None
            or (self.high is not None and self.high._items is not None)
            or (self.sheddable is not None and self.sheddable._items is not None)
        )
