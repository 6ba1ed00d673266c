"""A queue that holds no memory while it is empty."""

cimport cython

from collections import deque


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
