"""A queue in the order of priorities: high, normal, sheddable; within each in the order of arrival."""

cimport cython

RANKS = {PRIORITY_HIGH: RANK_HIGH, PRIORITY_NORMAL: RANK_NORMAL, PRIORITY_SHEDDABLE: RANK_SHEDDABLE}


@cython.final
cdef class PriorityQueue:

    def __cinit__(self):
        self.normal = Queue()

    def __bool__(self):
        return self.has_items()

    def __len__(self):
        return sum(map(len, self.queues()))

    def __iter__(self):
        for queue in self.queues():
            yield from queue

    def append(self, item, int priority):
        """Put an item behind those of its priority."""
        self.of(priority).append(item)

    def popleft(self):
        """Remove and return the first item of the highest priority. Raises IndexError if the queue is empty."""
        return self.first().popleft()

    cdef Queue of(self, int priority):
        """Return the queue of one priority."""
        if priority == PRIORITY_HIGH:
            if self.high is None:
                self.high = Queue()
            return self.high
        if priority == PRIORITY_SHEDDABLE:
            if self.sheddable is None:
                self.sheddable = Queue()
            return self.sheddable
        return self.normal

    cdef Queue at(self, int rank):
        """Return the queue of the priority of this rank; None if no item of it has ever waited."""
        if rank == RANK_NORMAL:
            return self.normal
        return self.high if rank == RANK_HIGH else self.sheddable

    cdef Queue first(self):
        """Return the queue whose first item is the next one; without any item an empty queue."""
        if self.high is not None and self.high._items is not None:
            return self.high
        if self.normal._items is not None or self.sheddable is None:
            return self.normal
        return self.sheddable

    cdef int first_rank(self) noexcept:
        """Return the rank of the next item's priority; RANKS_IN_ALL: there is no item."""
        if self.high is not None and self.high._items is not None:
            return RANK_HIGH
        if self.normal._items is not None:
            return RANK_NORMAL
        return RANK_SHEDDABLE if self.sheddable is not None and self.sheddable._items is not None else RANKS_IN_ALL

    cdef list queues(self):
        """Return the queues that were used, the highest priority first."""
        return [queue for queue in (self.high, self.normal, self.sheddable) if queue is not None]
