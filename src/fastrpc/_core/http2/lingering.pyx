"""The streams that a server has ended on its side, and on which clients may still send for a while.

::

    the end of an early answer ──► linger, spare_rest ──► the client ends its side ──► remove
                                                      └─► its time is over ──────────► check ──► RST_STREAM with NO_ERROR

A reset before the request is complete is correct (RFC 9113, section 8.1), but makes many clients lose the answer.
"""

cimport cython
from libc.stdint cimport int64_t

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.http2.frames cimport CODE_NONE
from fastrpc._core.http2.stream_table cimport FlowControl
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.server.link cimport Link

cdef enum:
    # The longest rest of a body that is received and dropped after the answer.
    SPARED_BYTES = 16_777_216


@cython.final
cdef class LingeringStreams:
    """The streams of a connection that stay half-closed for a while after our end."""

    cdef int linger(self, Http2Stream stream) except -1:
        cdef Http2Connection http2 = self.http2()
        cdef uint64_t time_ns = (<Link>http2.engine()).life.linger_ns, due
        if time_ns == 0 or stream.lingers or stream.is_ended_by_peer or stream.is_ended_by_us:
            return 0
        stream.lingers = True
        due = self.instants[stream] = now_ns() + time_ns
        return 0 if http2.stream_below() is NULL else (<ByteStream>http2.stream_below()).schedule_check(due)

    cdef int spare_rest(self, Http2Stream stream, bint is_refused) except -1:
        cdef Http2Connection http2 = self.http2()
        cdef FlowControl flow = http2.incoming.flow
        cdef int64_t kept, rest
        if stream.is_ended_by_peer or stream.content_left > SPARED_BYTES and not is_refused:
            return 0
        self.linger(stream)
        if stream.keeps_credit:
            http2.release(stream)
        if not stream.lingers:
            return 0
        kept = flow.first_receiving - stream.windows.growth.owed - http2.incoming.to_come(stream)
        if kept > 0:
            http2.took(stream, <Py_ssize_t>kept)
        # Grant all of the rest before the answer: clients such as curl 7 read no WINDOW_UPDATE after it, and would wait
        # forever. The rest is dropped, so it needs no memory. The client knows our SETTINGS by then.
        rest = SPARED_BYTES if stream.content_left < 0 else min(stream.content_left, <int64_t>SPARED_BYTES)
        rest -= http2.first_window + stream.windows.receiving
        return http2.grant(stream, rest) if rest > 0 else 0

    cdef int remove(self, Http2Stream stream) except -1:
        self.instants.pop(stream, None)
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef Http2Connection http2 = self.http2()
        cdef Http2Stream stream
        cdef uint64_t due
        while self.instants and not http2.is_closed:
            stream = next(iter(self.instants))
            due = self.instants[stream]
            if due > now:
                return due
            del self.instants[stream]
            if stream.unsent is None:
                http2.reset(stream, CODE_NONE)
            else:
                # The answer is not sent yet; the client's time begins after it.
                self.instants[stream] = now + (<Link>http2.engine()).life.linger_ns
        return 0


cdef LingeringStreams new_lingering(Http2Connection http2):
    cdef LingeringStreams made = LingeringStreams.__new__(LingeringStreams)
    made.holder = <PyObject*>http2
    made.instants = {}
    return made
