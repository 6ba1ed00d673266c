"""A queue that holds no memory while it is empty, and one in the order of priorities: high, normal, sheddable."""

from collections import deque

cimport cython

RANKS = {PRIORITY_HIGH: RANK_HIGH, PRIORITY_NORMAL: RANK_NORMAL, PRIORITY_SHEDDABLE: RANK_SHEDDABLE}


@cython.final
cdef class Queue:

    def __bool__(self):
        return self._items is not None

    def __len__(self):
        return 0 if self._items is None else len(self._items)

    def __iter__(self):
        return iter(() if self._items is None else self._items)

    def __getitem__(self, Py_ssize_t index):
        if self._items is None:
            raise IndexError("the queue is empty")
        return self._items[index]

    cpdef int append(self, object item) except -1:
        if self._items is None:
            self._items = deque()
        self._items.append(item)
        return 0

    cpdef int appendleft(self, object item) except -1:
        if self._items is None:
            self._items = deque()
        self._items.appendleft(item)
        return 0

    cpdef object popleft(self):
        if self._items is None:
            raise IndexError("the queue is empty")
        item = self._items.popleft()
        if not self._items:
            self._items = None
        return item

    cpdef int remove(self, object item) except -1:
        if self._items is None:
            raise ValueError("the queue is empty")
        self._items.remove(item)
        if not self._items:
            self._items = None
        return 0

    cpdef int replace(self, list items) except -1:
        self._items = deque(items) if items else None
        return 0


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
        """Put an item after all items of its priority."""
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
        """Return the queue of this rank's priority; None if no item of it has ever waited."""
        if rank == RANK_NORMAL:
            return self.normal
        return self.high if rank == RANK_HIGH else self.sheddable

    cdef Queue first(self):
        """Return the queue whose first item is the next one, or an empty queue if there is no item."""
        if self.high is not None and self.high._items is not None:
            return self.high
        if self.normal._items is not None or self.sheddable is None:
            return self.normal
        return self.sheddable

    cdef int first_rank(self) noexcept:
        """Return the rank of the next item's priority, or RANKS_IN_ALL without an item."""
        if self.high is not None and self.high._items is not None:
            return RANK_HIGH
        if self.normal._items is not None:
            return RANK_NORMAL
        return RANK_SHEDDABLE if self.sheddable is not None and self.sheddable._items is not None else RANKS_IN_ALL

    cdef list queues(self):
        """Return the queues that were used, the highest priority first."""
        return [queue for queue in (self.high, self.normal, self.sheddable) if queue is not None]
