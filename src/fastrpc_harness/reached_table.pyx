"""A table of calls for Python code, as a mapping from ids to entries."""

cimport cython
from cpython.ref cimport Py_DECREF, PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.native.call_table cimport home


@cython.final
cdef class ReachedTable:
    """A table of calls, with the methods of a mapping."""

    def __init__(self):
        self.table = CallTable()

    def __len__(self):
        return self.table.size

    def __contains__(self, uint64_t id):
        return self.table.get(id) is not NULL

    # The ids are objects here: Cython would treat a C integer as a position in a sequence.
    def __getitem__(self, object id):
        cdef PyObject* entry = self.table.get(id)
        if entry is NULL:
            raise KeyError(id)
        return <object>entry

    def __setitem__(self, object id, object entry):
        self.table.add(id, <PyObject*>entry)

    def pop(self, uint64_t id):
        """Remove an entry and return it."""
        cdef PyObject* taken = self.table.take(id)
        if taken is NULL:
            raise KeyError(id)
        entry = <object>taken
        Py_DECREF(entry)
        return entry

    def values(self):
        """Return the entries, in no particular order."""
        return self.table.entries()

    def slots_searched(self, uint64_t id):
        """Return the number of slots that the search for an id visits."""
        cdef CallTable table = self.table
        cdef uint64_t index = home(id, table.multiplier, table._shift), first = index
        while table._capacity and table._slots[index].entry is not NULL and table._slots[index].id != id:
            index = (index + 1) & (table._capacity - 1)
        return ((index - first) & (table._capacity - 1)) + 1 if table._capacity else 0
