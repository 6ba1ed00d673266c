"""The sockets of one loop whose input is held, asked once a second whether their peer is gone.

A connection that is not read, as its stream has a full window or its peer takes no answers, does not notice the end of
that peer: the FIN or the reset lies behind unread bytes, where neither a read nor MSG_PEEK shows it. `poll` does. One
call checks all of them, so that thousands cost a millisecond a second.

A peer that vanished without either is noticed by the system's keepalive (`transports/tcp`), which ends in an error here.
"""

import contextvars

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc

from fastrpc._core.base.timed cimport Timed

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents

cdef extern from "loop/hang_up.h" nogil:
    const int RESET "FRPC_RESET"
    int look_for_ends "frpc_look_for_ends"(pollfd* entries, size_t count)

# Seconds between two looks.
cdef double LOOK_SECONDS = 1.0


@cython.final
cdef class HeldSockets:
    def __cinit__(self, loop):
        self._loop = loop
        self._look = self.look
        # Otherwise each look would keep the context of the first stream that was held.
        self._context = contextvars.Context()
        self._owners = set()

    def __len__(self):
        return len(self._owners)

    cdef int add(self, Timed owner) except -1:
        """Watch a stream until its `held_descriptor` is -1, or it is dropped."""
        self._owners.add(owner)
        return self._schedule() if self._handle is None else 0

    cdef int drop(self, Timed owner) except -1:
        """Watch a stream no longer: its socket is about to be closed."""
        self._owners.discard(owner)
        return 0

    cdef int _schedule(self) except -1:
        try:
            self._handle = self._loop.call_later(LOOK_SECONDS, self._look, context=self._context)
        except RuntimeError:
            # The loop was closed before its connections.
            if not self._loop.is_closed():
                raise
        return 0

    def look(self):
        """Notify the streams whose peer is gone."""
        cdef Py_ssize_t count = 0, i
        cdef int descriptor
        cdef list asked = []
        # Freed below; `poll` keeps no pointer into it.
        cdef pollfd* entries = <pollfd*>PyMem_Malloc(max(1, len(self._owners)) * sizeof(pollfd))
        if entries is NULL:
            raise MemoryError()
        try:
            for owner in list(self._owners):
                descriptor = self._descriptor_of(<Timed>owner)
                if descriptor < 0:
                    self._owners.discard(owner)
                    continue
                entries[count].fd = descriptor
                asked.append(owner)
                count += 1
            if count and look_for_ends(entries, <size_t>count) > 0:
                for i in range(count):
                    if entries[i].revents:
                        self._tell(<Timed>asked[i], entries[i].revents & RESET)
        finally:
            PyMem_Free(entries)
            if self._handle is not None:
                self._handle.cancel()
                self._handle = None
            if self._owners:
                self._schedule()

    cdef int _descriptor_of(self, Timed owner) except -2:
        try:
            return owner.held_descriptor()
        except Exception as error:
            # The others are checked all the same.
            self._loop.call_exception_handler({"message": f"{owner!r} does not tell its socket", "exception": error})
            return -1

    cdef int _tell(self, Timed owner, bint is_reset) except -1:
        try:
            owner.on_hang_up(is_reset)
        except Exception as error:
            # The others are notified all the same.
            self._loop.call_exception_handler({"message": f"{owner!r} cannot end with its peer", "exception": error})
        return 0
