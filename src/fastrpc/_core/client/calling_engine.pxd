cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.io.client_life cimport ClientLife
from fastrpc._core.io.engine cimport PythonEngine


@cython.final
cdef class PythonCalls(CallingPart):
    cdef:
        # `_calls`: the calls in progress, oldest first; `_written`: the number of calls written so far; `handed`: how
        # many of these the stream has.
        dict _calls
        uint64_t _written
        uint64_t handed

    cdef CallingEngine engine(self)

    # Remove a call from the table, and its timer if it has one; False if the call has ended.
    cdef bint take(self, ClientCall call) except -1
    cdef bint _forget(self, ClientCall call) except -1

    # Fail all calls; `leaves`: written output is still sent.
    cdef int fail_all(self, str why, bint leaves) except -1

    cdef inline Py_ssize_t count(self) except -1:
        """Return the number of calls under way."""
        return len(self._calls)

    cdef inline int note_handed(self) noexcept:
        """Note that the stream has all written output."""
        self.handed = self._written
        return 0


cdef class CallingEngine(PythonEngine):
    cdef:
        # The name of the connection's protocol.
        readonly str protocol

        # `life`: the rules of the connection's life, with the object that is notified; `credential`: the credential to
        # present, or None.
        readonly ClientLife life
        readonly bytes credential

        # The calls under way: `calling` of the base.
        readonly PythonCalls own_calls

        # The reason why the connection was closed.
        readonly str closed_text

        # `auth_status`: the status of the server's verdict on the credential, -1 before the verdict; `auth_text`: its
        # text; `peer_replaces`: whether the server asks the client to use another connection.
        readonly int auth_status
        readonly str auth_text
        readonly bint peer_replaces
