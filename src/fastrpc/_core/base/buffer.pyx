"""Memory for bytes: buffers for writing, for reading and for a large incoming payload, and a pool for large payloads.

::

    ReadBuffer     one per loop; the socket writes into it, the parser reads from it
    WriteBuffer    one or two per connection; the frames of one loop turn
    Assembly       one per large or cut message: received straight into the bytes object for the handler

A fresh megabyte costs 256 page faults, more than sending it, and the allocator returns such blocks to the system each
time. So the pool keeps references to the last few large payloads, and reuses one when it holds the only reference.

A bytes object may change only while the pool holds its one reference: no other code can see, hash or export it.

Payloads of 32 KiB and more are pooled. On a 64 KiB echo this cut the client's processor time per call from 61 to 23 µs.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.string cimport memcpy, memmove

cdef extern from *:
    """
    /* Whether the pool holds the only reference, so that the object can be written to again. */
    static int fastrpc_is_ours(PyObject *block) { return Py_REFCNT(block) == 1; }

    /* The cached hash belongs to the old bytes. */
    static void fastrpc_forget_hash(PyObject *block)
    {
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        ((PyBytesObject *)block)->ob_shash = -1;
    #pragma GCC diagnostic pop
    }
    """
    bint is_ours "fastrpc_is_ours"(PyObject* block) noexcept
    void forget_hash "fastrpc_forget_hash"(PyObject* block) noexcept

cdef extern from "Python.h":
    PyObject* new_bytes "PyBytes_FromStringAndSize"(const char* data, Py_ssize_t size) except NULL
    Py_ssize_t size_of "PyBytes_GET_SIZE"(PyObject* block) noexcept
    int _PyBytes_Resize(PyObject** place, Py_ssize_t size) except -1
    char* raw_bytes "PyBytes_AS_STRING"(PyObject* block) noexcept

cdef enum:
    # Most pooled payloads, and their most bytes in total: enough for a few large calls in flight, and few enough to
    # stay allocated afterwards.
    MOST_BLOCKS = 64
    MOST_BYTES = 16_777_216

# Oldest first; each holds one reference. Touched with the GIL held.
cdef PyObject* kept[MOST_BLOCKS]
cdef int count = 0
cdef Py_ssize_t kept_bytes = 0

cdef enum:
    # The first block has room for a small answer.
    FIRST_BLOCK = 128
    # A block above this is freed once it is empty: one burst must not occupy memory forever.
    KEPT_BLOCK = 65536
    # Memory for a payload grows with the received bytes, not with the announced size. FIRST_PIECE is the initial size.
    # TRUST is the growth factor on a connection that has delivered large payloads completely before.
    FIRST_PIECE = 65536
    TRUST = 16
    # If memory is short, a block exceeds the received bytes by at most 2 / TIGHT_PART of their number.
    TIGHT_PART = 8

# Whether memory is short. If so, blocks do not double: a doubled block may be twice as large as the bytes counted for
# it.
cdef bint is_tight = False


cdef PyObject* used_block(Py_ssize_t size) except? NULL:
    """Return a pooled bytes object of this size as a new reference, or NULL; its content is undefined."""
    cdef PyObject* block
    cdef int i
    if size < SMALLEST_BLOCK:
        return NULL
    for i in range(count):
        block = kept[i]
        if size_of(block) == size and is_ours(block):
            remove(i)
            forget_hash(block)
            return block
    return NULL


cdef int keep_block(PyObject* block) except -1:
    """Add a delivered payload to the pool; it is reused once all other references are gone."""
    global count, kept_bytes
    cdef Py_ssize_t size = size_of(block)
    if size < SMALLEST_BLOCK or size > MOST_BYTES // 4:
        return 0
    while count and (count == MOST_BLOCKS or kept_bytes + size > MOST_BYTES):
        forget(0)
    Py_INCREF(<object>block)
    kept[count] = block
    count += 1
    kept_bytes += size
    return 0


cdef int remove(int i) except -1:
    """Remove a block from the list; the caller owns its reference."""
    global count, kept_bytes
    kept_bytes -= size_of(kept[i])
    count -= 1
    memmove(&kept[i], &kept[i + 1], (count - i) * sizeof(PyObject*))
    return 0


cdef int forget(int i) except -1:
    cdef PyObject* block = kept[i]
    remove(i)
    Py_DECREF(<object>block)
    return 0


cdef bytes copied(const char* data, Py_ssize_t size):
    """Copy a payload into a bytes object; a large one into pooled memory."""
    cdef bytes payload
    if size < SMALLEST_BLOCK:
        return PyBytes_FromStringAndSize(data, size)
    payload = new_block(size)
    memcpy(PyBytes_AS_STRING(payload), data, size)
    return payload


cdef bytes new_block(Py_ssize_t size):
    """Return pooled memory of this size, at least SMALLEST_BLOCK; fill it before any other code can see it."""
    cdef PyObject* block = used_block(size)
    if block is NULL:
        block = new_bytes(NULL, size)
    payload = <bytes><object>block
    Py_DECREF(payload)
    keep_block(block)
    return payload


def kept_blocks():
    """Return the number of pooled payloads and their bytes, as (blocks, bytes)."""
    return count, kept_bytes


def release_blocks():
    """Empty the pool; unused blocks are freed."""
    while count:
        forget(count - 1)


cdef void grow_tightly(bint is_on) noexcept:
    global is_tight
    is_tight = is_on


@cython.final
cdef class WriteBuffer:
    def __dealloc__(self):
        PyMem_Free(self._block)

    cdef int _grow(self, Py_ssize_t size) except -1:
        cdef Py_ssize_t capacity = max(self._capacity, <Py_ssize_t>FIRST_BLOCK)
        while capacity < self.size + size:
            capacity *= 2
        cdef char* block = <char*>PyMem_Realloc(self._block, capacity)
        if block is NULL:
            raise MemoryError()
        self._block = block
        self._capacity = capacity
        return 0

    cdef bytes take(self):
        """Return the written bytes and empty the buffer."""
        cdef bytes data = PyBytes_FromStringAndSize(self._block, self.size)
        self.clear()
        return data

    cdef void clear(self) noexcept:
        """Empty the buffer."""
        self.size = 0
        if self._capacity > KEPT_BLOCK:
            self.release()

    cdef void release(self) noexcept:
        """Free the block if it is empty."""
        if self.size == 0:
            PyMem_Free(self._block)
            self._block = NULL
            self._capacity = 0

    cdef void keep(self, Py_ssize_t size) noexcept:
        """Cut back to the first `size` bytes."""
        self.size = size


@cython.final
cdef class ReadBuffer:
    def __cinit__(self, Py_ssize_t capacity):
        self.data = <char*>PyMem_Malloc(capacity)
        if self.data is NULL:
            raise MemoryError()
        self.capacity = capacity

    def __dealloc__(self):
        PyMem_Free(self.data)


@cython.final
cdef class Assembly:
    def __cinit__(self, Py_ssize_t total):
        self.total = total

    def __dealloc__(self):
        Py_XDECREF(self._block)

    cdef char* place(self, Py_ssize_t left, Py_ssize_t* room, Py_ssize_t trusted) except NULL:
        """Return the address for the next received bytes, and in `room` the number that fits, at most `left`."""
        cdef Py_ssize_t piece = self.filled // TIGHT_PART if is_tight else self.filled
        room[0] = min(left, max(<Py_ssize_t>FIRST_PIECE, piece))
        return self.reserve(room[0], trusted)

    cdef char* reserve(self, Py_ssize_t size, Py_ssize_t trusted) except NULL:
        """Make room for `size` more bytes and return their address; the caller adds received bytes to `filled`.

        `trusted` is the size of the largest payload this connection has delivered completely: up to it memory may be
        allocated at once; beyond it the block doubles as it fills, or grows slowly if memory is short.
        """
        cdef Py_ssize_t filled = self.filled, needed = filled + size
        cdef Py_ssize_t capacity = self._capacity
        if capacity == 0 and not is_tight:
            # Pooled memory may be as large as announced.
            self._block = used_block(self.total)
            if self._block is not NULL:
                capacity = self._capacity = self.total
        # A trusted block grows to its full size while it has little content, because growing copies the content.
        if needed > capacity or (capacity < self.total <= trusted and self.total <= TRUST * filled and not is_tight):
            if is_tight:
                capacity = needed + filled // TIGHT_PART
            else:
                capacity = max(capacity, min(trusted, TRUST * needed), <Py_ssize_t>FIRST_PIECE)
                while capacity < needed:
                    capacity *= 2
            capacity = min(capacity, self.total)
            # If the resize fails, the block is freed: until it succeeds the assembly counts as empty.
            self.filled = self._capacity = 0
            if self._block is NULL:
                self._block = new_bytes(NULL, capacity)
            else:
                _PyBytes_Resize(&self._block, capacity)
            self.filled = filled
            self._capacity = capacity
        return raw_bytes(self._block) + filled

    cdef int append(self, const char* data, Py_ssize_t size, Py_ssize_t trusted) except -1:
        if size == 0:
            return 0
        memcpy(self.reserve(size, trusted), data, size)
        self.filled += size
        return 0

    cdef bytes finish(self):
        """Return the payload and empty the assembly."""
        cdef Py_ssize_t filled, capacity
        if self._block is NULL:
            return b""
        filled, capacity = self.filled, self._capacity
        self.filled = self._capacity = 0
        if capacity != filled:
            _PyBytes_Resize(&self._block, filled)
        keep_block(self._block)
        payload = <bytes><object>self._block
        Py_XDECREF(self._block)
        self._block = NULL
        return payload
