"""TLS between a transport of the loop and the protocol above it.

Python's `ssl` encrypts and decrypts the bytes, in memory. The loop's TLS is not used for three reasons: it copies long
payloads once more; it writes through the loop's queue, while this layer writes to the socket immediately; and only some
loops distinguish a truncated stream from an ended one. 32-byte calls cost 7 to 30 % more processor time than without
TLS (`make compare ARGS="--peers fastrpc,fastrpc_tls --workloads W2"`).

A server connects its session immediately, so that the limits and timeouts of the opening apply to the handshake. A
client awaits `opened` and then connects its session.
"""

import errno
import os
import ssl

from libc.stdint cimport uint64_t

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.layer cimport plain_descriptor
from fastrpc._core.io.socket_io cimport send_bytes
from fastrpc._core.loop.turns cimport Turns

cdef enum:
    # Bytes that are encrypted and sent at a time: two records, whose cipher text stays in the processor's cache. With
    # all 64 KiB of a payload at a time, W5 reaches 0.7 to 0.8 of the rate (`make compare ARGS="--workloads W5 --peers
    # fastrpc_tls,c_echo_tls"`), with 16 KiB 0.9.
    PART_BYTES = 32_768
    # Shorter pieces are joined: each piece alone would become a record.
    JOINED_BYTES = 16_384

cdef enum:
    # Encrypted bytes are barren if, apart from an incomplete record, less than one in LEAST_PART of them is data. From
    # then on BARREN_BYTES are read at a time.
    LEAST_PART = 16
    LONGEST_RECORD = 20_000
    BARREN_BYTES = 2_048

# A fatal alert "unexpected_message" with the record version of TLS 1.0, as RFC 8446 5.1 asks.
cdef bytes PLAIN_ALERT = b"\x15\x03\x01\x00\x02\x02\x0a"

# Seconds that a server continues to read after a failed handshake, and to complete a handshake before it closes.
cdef double LINGER_SECONDS = 1.0

cdef object WantRead = ssl.SSLWantReadError


cdef object _reset():
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


cdef class TLSLayer(Layer):
    """TLS over one connection of a loop."""

    def __init__(self, loop, end):
        self.rest_in(loop)
        self.end = end
        self._most = len(self._place)
        self.descriptor = -1
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._encrypt_by(end.wrap(self._incoming, self._outgoing))
        self._hello = b"" if end.reads_hello else None
        self._early = []

    cdef int _encrypt_by(self, object ssl_object) except -1:
        self.ssl_object = ssl_object
        # The methods of the compiled object are called directly, without the Python methods around them.
        inner = getattr(ssl_object, "_sslobj", ssl_object)
        self._read = inner.read
        self._encrypt = inner.write
        return 0

    # Calls of the transport below

    def connection_made(self, transport):
        """Connect the protocol above, if there is one, and begin the handshake."""
        self.transport = transport
        self.descriptor = plain_descriptor(transport)
        if self._protocol is not None:
            self._protocol.connection_made(self)
        self._shake_hands()

    def buffer_updated(self, Py_ssize_t nbytes):
        """`nbytes` encrypted bytes were received."""
        cdef uint64_t began = now_ns()
        if self.is_closed or self.has_peer_end:
            # Input is no longer wanted, or the peer has sent close_notify.
            return
        self.has_heard = True
        self.is_full = nbytes == self._most
        self._received = nbytes
        self._brought = 0
        if self._hello is None:
            self._incoming.write(self._place[:nbytes])
        else:
            self._hear(bytes(self._place[:nbytes]))
        if not self.is_open:
            self._shake_hands()
            if self._heard_below is not None and not self.is_closed:
                self._heard_below()
        if self.is_open and not self.is_paused:
            self._decrypt()
            self._barren = max(0, self._barren + nbytes - LEAST_PART * self._brought)
            if self._barren > LONGEST_RECORD:
                self._note_barren(began)
            elif self.is_full:
                self._most = min(2 * self._most, <Py_ssize_t>len(self._place))

    cdef Py_ssize_t take_received(self) noexcept:
        """Return how many encrypted bytes the last read received; a second call returns 0, so each byte counts once."""
        cdef Py_ssize_t size = self._received
        self._received = 0
        return size

    cdef int _note_barren(self, uint64_t since) except -1:
        """Charge bytes that contained almost no data, such as records of TLS itself, to their share of a turn."""
        cdef Turns turns = self.loop_state.turns
        self._most = BARREN_BYTES
        turns.begin(since)
        if turns.spend_unanswered(now_ns() - since) or self._rests or self.is_closed:
            return 0
        if not self.transport.is_closing():
            self._rests = True
            self.transport.pause_reading()
            # The callback runs after the callbacks of other connections: a loop that polls after its callbacks would
            # read this socket first.
            self.loop_state.call_soon(self._read_on if turns.polls.polls_first else self._let_others_read)
        return 0

    def _let_others_read(self):
        """Resume after the next poll, which is for the other sockets; the poll after it reports this socket last."""
        self.loop_state.call_soon(self._read_on)

    def _read_on(self):
        self._rests = False
        if not (self.is_paused or self.is_closed or self.transport.is_closing()):
            self.transport.resume_reading()

    def get_buffer(self, Py_ssize_t sizehint):
        """Return the buffer to receive into: a smaller one after bytes that contained almost no data."""
        return self._place if self._most == len(self._place) else self._place[:self._most]

    def eof_received(self):
        """Handle the end of the stream below: the peer sends no more."""
        self.has_stream_end = True
        if self.is_closed or self.has_peer_end:
            return not self.is_closed
        if self._hello:
            # OpenSSL writes the answer to an incomplete beginning.
            self._incoming.write(self._hello)
        self._hello = None
        self._incoming.write_eof()
        if not self.is_open:
            self._shake_hands()
        elif not self.is_paused:
            self._decrypt()
        return not self.is_closed

    def connection_lost(self, exc):
        """Note that the stream below is gone."""
        if self.failure is None:
            self.failure = exc if self.is_open or self.is_closed else self._explained(exc or _reset())
        self.is_closed = True
        self.descriptor = -1
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._wake()
        protocol, self._protocol = self._protocol, None
        self._heard_below = None
        if protocol is not None:
            protocol.connection_lost(self.failure)

    # The handshake

    async def opened(self):
        """Wait until the handshake has ended.

        Raises:
            OSError: the handshake failed; the text says why.
        """
        if not self.is_open and self.failure is None and not self.is_closed:
            self._opened = self.loop_state.loop.create_future()
            await self._opened
        if self.failure is not None:
            raise self.failure
        if self.is_closed:
            raise _reset()

    def connect(self, protocol):
        """Connect the protocol above after the handshake, and pass later bytes to it."""
        self.set_protocol(protocol)
        protocol.connection_made(self)
        if not self.is_paused:
            self._decrypt()

    cdef int _wake(self) except -1:
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)
        return 0

    cdef int _hear(self, bytes data) except -1:
        """Keep the first bytes until they select the SSL object. The previous object did not get them."""
        self._hello += data
        chosen = self.end.answer(self._hello, self._incoming, self._outgoing)
        if chosen is not None:
            self._encrypt_by(chosen)
            self._incoming.write(self._hello)
            self._hello = None
        return 0

    cdef int _shake_hands(self) except -1:
        if self.is_closed:
            return 0
        try:
            self.ssl_object.do_handshake()
            self.end.check(self.ssl_object)
        except WantRead:
            return self._send()
        except (OSError, ValueError) as error:
            self._tell()
            return self._fail(self._explained(error))
        self.is_open = True
        early, self._early = self._early, None
        for data in early:
            self._write_all(data)
        self._send()
        self._wake()
        if self.closes_when_open:
            self.close()
        elif self.ends_when_open:
            self.write_eof()
        return 0

    cdef int _tell(self) except -1:
        """Send OpenSSL's alert, which states the reason; without one, a server answers first bytes by a plain alert."""
        if self.ssl_object.version() is not None:
            self.has_said_end = True
            try:
                self.ssl_object.unwrap()
            except (OSError, ValueError):
                # The peer's close_notify has not arrived yet.
                return self._send()
        elif self.ssl_object.server_side and self.has_heard and not self._outgoing.pending:
            self.transport.write(PLAIN_ALERT)
        return self._send()

    cdef object _explained(self, object error):
        """Return the error of a handshake; a client that sent nothing only checked whether a server listens."""
        if self.ssl_object.server_side and not self.has_heard:
            return _reset()
        return self.end.explain(error, False, self.ssl_object)

    cdef int _fail(self, object error) except -1:
        """End the layer after a TLS error, which the protocol above gets in `connection_lost`.

        A server continues to read for a moment and discards the input: closing with unread bytes would send a reset,
        which discards the alert. A client needs no such pause: it has read all output of the server.
        """
        self.failure = error
        self.is_closed = True
        self._wake()
        if not self.ssl_object.server_side or self.has_stream_end or self.transport.is_closing():
            self.transport.close()
            return 0
        if self._linger is None:
            self._linger = self.loop_state.loop.call_later(LINGER_SECONDS, self.transport.abort)
        try:
            self.transport.write_eof()
        except OSError:
            # The peer has reset the connection.
            self.transport.abort()
        return 0

    # Receiving

    cdef int _decrypt(self) except -1:
        """Pass on everything that can be decrypted, until the protocol above pauses."""
        cdef Py_ssize_t size
        if self.has_peer_end:
            return 0
        while not self.is_paused and not self.is_closed and self._protocol is not None:
            # The encrypted bytes were moved out of the shared buffer, so it is free for decrypted ones.
            size = self._fill(self._protocol.get_buffer(-1) if self._is_buffered else self._place)
            self._brought += max(size, 0)
            if size > 0 and self._is_buffered:
                self._protocol.buffer_updated(size)
            elif size > 0:
                self._protocol.data_received(bytes(self._place[:size]))
            if size < 0 or self.has_peer_end or self.failure is not None:
                return self._end_input()
            if size == 0 or not (self._incoming.pending or self.ssl_object.pending()):
                break
        if self._outgoing.pending:
            self._send()
        return 0

    cdef Py_ssize_t _fill(self, object view) except -2:
        """Decrypt into a buffer what is there and fits. Return the size; -1 at an end without close_notify."""
        cdef Py_ssize_t room = len(view), filled = 0, size
        try:
            while True:
                size = self._read(room - filled, view[filled:] if filled else view)
                if size == 0:
                    self.has_peer_end = True
                    return filled
                filled += size
                if filled == room or not self._incoming.pending:
                    return filled
        except WantRead:
            if self.has_stream_end and not filled:
                return -1
            return filled
        except ssl.SSLZeroReturnError:
            self.has_peer_end = True
            return filled
        except ssl.SSLError as error:
            self.failure = self.end.explain(error, True, self.ssl_object)
            return filled

    cdef int _end_input(self) except -1:
        if self.has_peer_end:
            if self._protocol is not None and not self._protocol.eof_received() and not self.is_closed:
                self.close()
            return 0
        # Without close_notify an attacker may have cut the input.
        if self.failure is None:
            self.failure = self.end.explain(ssl.SSLEOFError(), True, self.ssl_object)
        self._send()
        self.abort()
        return 0

    # Calls of the protocol above, as of an `asyncio.Transport`

    def set_protocol(self, protocol):
        """Set another protocol above; the first one gets `connection_made` when the transport below is connected."""
        Layer.set_protocol(self, protocol)
        self._is_buffered = hasattr(protocol, "get_buffer")
        self._heard_below = getattr(protocol, "heard_below", None)

    def get_extra_info(self, str name, default=None):
        """Return "ssl_object", "peercert", "cipher", "alpn_protocol", or information of the transport below."""
        if name == "ssl_object":
            return self.ssl_object
        if name == "peercert":
            return self.ssl_object.getpeercert() if self.is_open else default
        if name == "alpn_protocol":
            return self.ssl_object.selected_alpn_protocol() if self.is_open else default
        if name == "cipher":
            return self.ssl_object.cipher()
        return Layer.get_extra_info(self, name, default)

    def write(self, data):
        """Encrypt and send data. Until the handshake has ended the data is kept."""
        if not self._may_write():
            return
        if not self.is_open:
            self._early.append(bytes(data))
            return
        self._write_all(data)
        self._send()

    def writelines(self, pieces):
        """Encrypt and send pieces: small neighbours share a record, large pieces are not joined."""
        cdef list small = []
        if not self._may_write():
            return
        if not self.is_open:
            self._early.append(b"".join(pieces))
            return
        for piece in pieces:
            if len(piece) < JOINED_BYTES:
                small.append(piece)
                continue
            if small:
                self._write_all(b"".join(small))
                small.clear()
            self._write_all(piece)
        if small:
            self._write_all(b"".join(small))
        self._send()

    cdef bint _may_write(self) except -1:
        """Return whether output can still be sent; output on a closed connection is dropped."""
        if self.is_closed or self.closes_when_open:
            return False
        if self.has_said_end or self.ends_when_open:
            raise RuntimeError("nothing can be written after write_eof()")
        return True

    cdef int _write_all(self, object data) except -1:
        cdef Py_ssize_t offset = 0, sent = 0, size = len(data)
        cdef bint is_whole
        while offset < size:
            is_whole = offset == 0 and size <= PART_BYTES
            offset += <Py_ssize_t>self._encrypt(data if is_whole else memoryview(data)[offset:offset + PART_BYTES])
            if offset - sent >= PART_BYTES:
                sent = offset
                self._send()
        return 0

    cdef int _send(self) except -1:
        """Pass encrypted bytes to the socket, or to the transport if that already holds bytes."""
        cdef Py_ssize_t sent, size
        if not self._outgoing.pending:
            return 0
        data = self._outgoing.read()
        if self.transport is None or self.transport.is_closing():
            return 0
        if self.descriptor >= 0:
            if self.transport_holds and not self.transport.get_write_buffer_size():
                self.transport_holds = False
            if not self.transport_holds:
                size = len(data)
                sent = send_bytes(self.descriptor, <bytes>data, size)
                if sent == size:
                    return 0
                self.transport_holds = True
                if sent > 0:
                    data = data[sent:]
        self.transport.write(data)
        return 0

    cdef int _say_end(self) except -1:
        """Send close_notify once: no output follows. Input can be read until the peer sends close_notify, too."""
        if self.has_said_end or not self.is_open:
            return 0
        self.has_said_end = True
        # `unwrap` looks for the peer's close_notify, and would treat other bytes in its place as an attack.
        waiting = self._incoming.read()
        try:
            self.ssl_object.unwrap()
        except (OSError, ValueError):
            # The peer's close_notify has not arrived yet, or the stream is broken.
            self._put_back(waiting)
            return self._send()
        self._put_back(waiting)
        return self._send()

    cdef int _put_back(self, bytes waiting) except -1:
        if waiting and not self.has_stream_end:
            self._incoming.write(waiting)
        return 0

    cdef int hand_over(self) except -1:
        return self._decrypt() if self.is_open and not self.is_paused and not self.is_closed else 0

    def can_write_eof(self):
        return self.transport.can_write_eof()

    def write_eof(self):
        """Announce, after the handshake, that nothing more will be written: by close_notify and by the stream below."""
        if not self.is_open and not self.is_closed:
            self.ends_when_open = True
            return
        self._say_end()
        self.transport.write_eof()

    def is_closing(self):
        return self.is_closed or self.closes_when_open or self.transport.is_closing()

    def close(self):
        """Send close_notify, and close once all output is sent.

        A server completes the handshake first, if that takes only a moment: output cannot be sent earlier, and closing
        with unread bytes would send a reset.
        """
        if self.is_closed:
            self.transport.close()
            return
        if not self.is_open and self.ssl_object.server_side and not self.has_stream_end:
            if not self.closes_when_open:
                self.closes_when_open = True
                self._linger = self.loop_state.loop.call_later(LINGER_SECONDS, self.transport.abort)
            return
        self._say_end()
        self.is_closed = True
        self.transport.close()

    def abort(self):
        self.is_closed = True
        self.transport.abort()
