from libc.stdint cimport uint64_t

from fastrpc._core.client.blocking_wait cimport Wait
from fastrpc._core.client.client_stream cimport ClientStream, Gathered


cdef class BlockingCalledStream(ClientStream):
    cdef:
        # Whether the attempt has ended; set under the session's guard.
        readonly bint attempt_ended

        # The waits of threads. `_reader_wait`: for a message or the end. `_sender_wait`: for room to send. One thread
        # may wait for both.
        Wait _reader_wait
        Wait _sender_wait

        # `_is_receiving`: whether a thread is receiving; `_source`: the iterator of messages that this thread sends as
        # well, or None.
        bint _is_receiving
        object _source

        # `_is_there`: whether all messages of the iterable exist already, so that several share one write; `_gathered`:
        # the messages of the next write, or None.
        bint _is_there
        Gathered _gathered

    cdef object _take(self)
    cdef object _decoded(self, bytes payload, int codec, int compressor)
    cdef int _wait_for(self, bint message, bint room) except -1
    cdef int _overdue(self, uint64_t due_ns, bint sends) except -1
    cdef int _feed(self) except -1
    cdef int _feed_gathered(self) except -1
    cdef int _send_gathering(self, object messages) except -1
    cdef int _encode_and_send(self, object message) except -1
    cdef int _check_output(self) except -1
    cdef int _await_room(self) except -1
