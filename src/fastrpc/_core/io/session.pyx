"""The byte stream of an event loop: an asyncio protocol that receives and flushes for the engine that it holds.

::

    transport ──► get_buffer, buffer_updated ──► Session ──► Engine.receive, body_received
    transport ◄── write, or the socket ◄──────── Session ◄── Engine.pump, output.take

A session is an `asyncio.BufferedProtocol`; `SessionOutput` is its writing half. The transport receives directly into
the loop's shared buffer, or into the final memory of a long payload. Input for which a turn of the loop has no time
waits here, with reading paused.

Input enters in `_took_in`; output leaves in `_write_output`. TLS is below the session, as a transport (`TLSLayer`).
"""

import logging

from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN
from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport ReadBuffer
from fastrpc._core.base.wire cimport SECOND, now_ns
from fastrpc._core.io.engine cimport LATE_NS, MESSAGES_AT_ONCE, Engine, bind
from fastrpc._core.io.layer cimport is_nameless, socket_of, unread_bytes
from fastrpc._core.io.receive_tail cimport ReceiveTail
from fastrpc._core.io.socket_io cimport receive_soon
from fastrpc._core.io.tls_layer cimport TLSLayer
from fastrpc._core.loop.loop_state cimport STALL_NS, loop_state
from fastrpc._core.loop.turns cimport Turns

cdef enum:
    # Bytes received before the loop gets its turn. uvloop reads a socket 32 times in a row, up to 12 MiB.
    READ_SHARE = 4_194_304
    # The rest of READ_SHARE at which waiting callbacks, such as the callbacks of answered calls, should run: a megabyte
    # was read. Pausing and resuming reading costs two system calls.
    READ_SHARE_WOKEN = READ_SHARE - 1_048_576
    # Bytes of a long payload that a connection reads in a turn that is used up. They make no work, but reading a
    # thousand payloads would take seconds. FRAME_SHARE: bytes of a long payload that take as long to read as a frame to
    # handle.
    LATE_SHARE = 262_144
    FRAME_SHARE = 16_384
    # For one short read in a turn that is used up: SHORT_READ_NS is its time, SHORT_FRAMES the most frames that it may
    # contain.
    SHORT_READ_NS = 500_000
    SHORT_FRAMES = 8

# How many times a spinning loop checks the socket before other callbacks run, about two microseconds in all.
cdef int LOOKS = 8

logger = logging.getLogger("fastrpc")


cdef class Session(SessionOutput):
    """The stream of one connection on an event loop, created and driven by its transport."""

    def __cinit__(self, *arguments, **options):
        self.tail = ReceiveTail()
        self.read_share = READ_SHARE

    def __init__(self, Engine engine not None, *, loop, spin_microseconds=0):
        bind(engine, self)
        self.engine = engine
        self.loop_state = loop_state(loop)
        self.spin_ns = <uint64_t>spin_microseconds * 1000
        engine.now = now_ns()

    @property
    def is_put_off(self):
        return self.tail.is_put_off

    # Calls of the transport

    def connection_made(self, transport):
        """Begin: the engine decides what to send or to wait for."""
        self.open_output(transport)
        self.is_encrypted = isinstance(transport, TLSLayer)
        self.peer_name = transport.get_extra_info("peername")
        if self.peer_name is None and is_nameless(transport):
            # A peer whose name is unknown must not count as a process of this machine, so its input is not read.
            transport.abort()
        self.engine.now = self.engine.received_ns = self.tail.emptied_ns = self.tail.weighed_ns = now_ns()
        if self.spin_ns:
            self.spinner = self.loop_state.shared_spinner()
            self.spinner.join()
        self.engine.connected()
        if self.is_held_back and not self.is_encrypted:
            self.loop_state.call_soon(self._hold_once_more)

    def _hold_once_more(self):
        """Pause again: asyncio of CPython 3.11.2 starts to read after `connection_made`, even if that paused it."""
        if self.is_held_back and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
            self.transport.pause_reading()

    def get_buffer(self, Py_ssize_t hint):
        """Return the buffer to receive into: a long payload's memory, else the loop's shared buffer."""
        cdef Py_ssize_t room = 0
        cdef char* place = self._place(&room)
        if place is self.loop_state.buffer.data and room == self.loop_state.buffer.capacity:
            return self.loop_state.whole_view
        return PyMemoryView_FromMemory(place, room, PyBUF_WRITE)

    def buffer_updated(self, Py_ssize_t size):
        """Handle `size` bytes that were received into the last buffer."""
        if self.spinner is not None:
            self.spinner.has_waiting = True
        self._took_in(size)

    def heard_below(self):
        """Note that the TLS layer below received bytes of its handshake."""
        self.engine.now = now_ns()
        self.engine.heard_below()

    cdef char* _place(self, Py_ssize_t* room) except NULL:
        """Return the place for the next bytes: the memory of a long payload, else the buffer behind unhandled bytes."""
        cdef ReadBuffer buffer = self.loop_state.buffer
        cdef char* place = self.engine.body_place(room)
        self.in_body = place is not NULL
        if self.in_body:
            if room[0] > LATE_SHARE and self.loop_state.turns.is_over(now_ns()):
                room[0] = LATE_SHARE
            self.place_size = room[0]
            return place
        if self.tail.size:
            memcpy(buffer.data, self.tail.data, self.tail.size)
        self.place_size = room[0] = self.tail.room(self.loop_state)
        return buffer.data + self.tail.size

    cdef int _took_in(self, Py_ssize_t size) except -1:
        cdef Engine engine = self.engine
        cdef Turns turns = self.loop_state.turns
        cdef uint64_t now = now_ns()
        cdef bint is_full = size == self.place_size or self.is_encrypted and (<TLSLayer>self.transport).is_full
        cdef bint is_late = False, is_short = False
        engine.now = now
        self.tail.received += size
        engine.came_ns = self.tail.dated(self.loop_state, now, self.transport, size if is_full else 0)
        engine.turn_ends_ns = turns.read_until(now)
        if now >= engine.turn_ends_ns or self.tail.is_put_off:
            is_short = not is_full and not self.in_body and self._takes_short_time(size, now)
            if not is_short and self.tail.keep_unseen(engine, self.loop_state.buffer.data, size, self.in_body):
                self._put_off()
                # The input counts as late when it is handled.
                engine.came_ns = now
                return self._heard()
        # Messages are counted over all connections: many connections with a few messages each block the loop, too.
        engine.messages_left = turns.frames_left
        self.began_ns = now
        self._handle(size)
        turns.frames_left = engine.messages_left
        if is_short:
            turns.spend_short(now_ns() - now)
        if self.in_body:
            turns.frames_left -= size // FRAME_SHARE
            is_late = turns.is_over(now)
        if engine.messages_left <= 0:
            # A slow handler, or many messages.
            turns.polls.worked(now, True)
        if is_late or size == self.place_size:
            # uvloop reads on.
            self.read_share -= size
            if is_late or self.read_share < (READ_SHARE_WOKEN if engine.woke else 0):
                self._yield_loop()
                engine.woke = False
        else:
            self.read_share = READ_SHARE
            engine.woke = False
        return self._put_off() if self.tail.is_put_off else 0

    cdef bint _takes_short_time(self, Py_ssize_t size, uint64_t now) noexcept:
        """Return whether a light caller's short read may be handled although the turn is used up, and set its limits.

        Return whether there is time left for this work.
        """
        cdef Turns turns = self.loop_state.turns
        # The previous read shows whether the caller waits for answers.
        if turns.short_ns == 0 or self.engine.is_unanswered:
            return False
        if not self.tail.weigh_short(size, now, self.engine.came_ns):
            return False
        self.engine.turn_ends_ns = now + min(turns.short_ns, <uint64_t>SHORT_READ_NS)
        turns.frames_left = min(turns.frames_left, SHORT_FRAMES)
        return True

    cdef int _yield_loop(self) except -1:
        """Pause reading until other callbacks have run, such as the callbacks of calls that were just answered."""
        self.read_share = READ_SHARE
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
            self.loop_state.call_soon(self._resume_after_turn)
        return 0

    def _resume_after_turn(self):
        if self.transport is None or self.transport.is_closing() or self.is_held_back or self.tail.is_put_off:
            return
        self.tail.watched(self.loop_state.turns.polls, self.transport, True)
        self.transport.resume_reading()

    cdef int _heard(self) except -1:
        cdef Engine engine = self.engine
        engine.is_unanswered = False
        if engine.came_ns + <uint64_t>LATE_NS < engine.now or engine.now > self.loop_state.calm_until_ns:
            engine.stalled()
        engine.received_ns = engine.now
        return 0

    cdef int _handle(self, Py_ssize_t size) except -1:
        """Handle `size` bytes at the last place, and flush the answers."""
        cdef Engine engine = self.engine
        self._heard()
        if self.spinner is not None:
            self.spinner.touch(self, engine.now + self.spin_ns)
        engine.is_reading = True
        try:
            self._hand_over(size)
        except BaseException as error:
            # A part of the input was consumed and the rest is lost: later input cannot be parsed.
            self.engine.report_crash(error)
            if not isinstance(error, Exception):
                raise
        finally:
            engine.is_reading = False
            engine.read_done()
        return self.flush()

    cdef int _hand_over(self, Py_ssize_t size) except -1:
        """Pass the bytes at the last place, `size` of them new, to the engine; keep the bytes that it leaves."""
        cdef ReadBuffer buffer = self.loop_state.buffer
        cdef Py_ssize_t consumed
        if self.in_body:
            return self.engine.body_received(size)
        if size == 0:
            size = self.tail.size
            consumed = self.tail.give(self.engine)
        else:
            size += self.tail.size
            consumed = self.engine.receive(buffer.data, size)
            self.tail.keep(buffer.data + consumed, size - consumed)
        if consumed == 0 and size == buffer.capacity and not self.is_input_held:
            self.tail.drop()
            return self.engine.end_endless(size)
        return 0

    # Input for which one turn of the loop has no time

    cdef bint ends_turn(self) except -1:
        cdef Engine engine = self.engine
        cdef Turns turns = self.loop_state.turns
        cdef uint64_t now
        if engine.is_closed:
            return False
        if turns.ends_ns == 0:
            engine.turn_ends_ns = max(engine.turn_ends_ns, turns.begin(engine.now))
        now = now_ns()
        self.tail.is_put_off = self.is_input_held or now >= engine.turn_ends_ns
        if engine.is_unanswered and not turns.spend_unanswered(now - self.began_ns):
            self.tail.is_put_off = True
        self.began_ns = now
        return self.tail.is_put_off

    cdef int hold_input(self) except -1:
        self.is_input_held = True
        if not self.is_watched:
            self._watch_peer()
        # A read in progress stops after the present message. Outside a read, the tail is deferred now.
        self.tail.is_put_off = True
        self.engine.messages_left = 0
        if not self.engine.is_reading:
            return self._put_off()
        return 0

    cdef int release_input(self) except -1:
        if not self.is_input_held:
            return 0
        self.is_input_held = False
        self.tail.released()
        if self.tail.is_put_off and not self.has_turn and self.transport is not None:
            return self._add_to_turns()
        return 0

    cdef bint waits_for_turn(self) noexcept:
        return self.tail.is_put_off

    cdef int _watch_peer(self) except -1:
        self.is_watched = True
        return self.loop_state.held_sockets.add(self)

    cdef int held_descriptor(self) except -2:
        cdef bint is_held = (self.is_input_held or self.is_held_back) and not self.is_ending()
        cdef int descriptor = socket_of(self.transport) if is_held else -1
        self.is_watched = descriptor >= 0
        return descriptor

    cdef bint has_unread(self) except -1:
        return self.tail.is_put_off or self.transport is not None and unread_bytes(self.transport) > 0

    cdef int _put_off(self) except -1:
        """Defer the rest of the input to a later turn; until then nothing more is read."""
        self.tail.put_off_ns = self.tail.put_off_ns or self.engine.came_ns or self.engine.now
        self._recount_tail()
        if self.has_turn:
            return 0
        if not self.transport.is_closing():
            self.transport.pause_reading()
        return self._add_to_turns()

    cdef int _add_to_turns(self) except -1:
        cdef bint is_light = self.tail.weigh(now_ns())
        self.has_turn = True
        if self.tail.has_time_left():
            return self.loop_state.turns.go_on(self)
        return self.loop_state.turns.add(self, not is_light)

    cdef int _recount_tail(self) except -1:
        cdef Py_ssize_t change = self.tail.recount(self.loop_state.turns)
        return self.engine.tail_changed(change) if change else 0

    cdef bint on_turn(self, uint64_t ends_ns) except -1:
        cdef bint is_rest = self.tail.left_us != 0
        self.has_turn = self.tail.is_put_off and not self.is_input_held and self.transport is not None
        if not self.has_turn or self.engine.is_unanswered and self.loop_state.turns.unanswered_ns == 0:
            return self.has_turn
        self.engine.now = now_ns()
        self.engine.turn_ends_ns = self.tail.take_time(self.engine.now, ends_ns)
        self.engine.messages_left = MESSAGES_AT_ONCE
        try:
            self._go_on()
            self._recount_tail()
        except Exception as error:
            # After any failure: a connection that is not read must have a turn, or be closed.
            self.engine.report_crash(error)
        finally:
            if not self.tail.is_put_off:
                self._read_on()
                if not is_rest:
                    self.tail.leave_time(now_ns(), ends_ns)
        if self.has_turn and self.tail.is_light:
            self.loop_state.turns.keep_first(self)
            return False
        return self.has_turn

    cdef int _go_on(self) except -1:
        """Handle the deferred bytes as of their arrival time."""
        cdef Py_ssize_t waiting = self.tail.take_up(self.engine, &self.in_body)
        self.began_ns = self.engine.now
        try:
            self._handle(waiting)
        finally:
            self.engine.came_ns = 0
        return 0

    cdef int _read_on(self) except -1:
        """Read again, or handle the end of the stream that followed: nothing is deferred any more."""
        self.tail.end()
        self.has_turn = False
        self._recount_tail()
        if self.transport is None or self.transport.is_closing():
            return 0
        if not self.is_held_back:
            self.tail.watched(self.loop_state.turns.polls, self.transport, True)
            self.transport.resume_reading()
        if self.has_end:
            self.engine.eof()
            self.transport.close()
        return 0

    def eof_received(self):
        """Close the transport: the peer sends no more, and would not read an answer."""
        if self.tail.is_put_off:
            self.has_end = True
            return True
        self.engine.eof()
        return False

    def connection_lost(self, error):
        """The stream is gone."""
        cdef Engine engine = self.engine
        if self.tail.is_put_off and engine.reads_to_end and not engine.is_closed:
            self._hear_last_answers()
        self.close_output()
        self.loop_state.held_sockets.drop(self)
        engine.now = now_ns()
        self.tail.drop()
        self.tail.end()
        self._recount_tail()
        if self.spinner is not None:
            self.spinner.leave(self)
            self.spinner = None
        self.loop_state.stop_timer(self)
        engine.is_closed = True
        engine.lost(error)

    cdef int _hear_last_answers(self) except -1:
        """Handle the answers that arrived before the end of the stream."""
        self.engine.turn_ends_ns = now_ns() + <uint64_t>SECOND
        try:
            self._hand_over(self.tail.take_up(self.engine, &self.in_body))
        except Exception as problem:
            # The end of the stream has to be reported even if handling these answers fails.
            logger.error("fastrpc: internal error on a connection of %s", self.peer_name, exc_info=problem)
        self.engine.came_ns = 0
        return 0

    # While the loop spins

    cdef bint on_spin(self) except -1:
        """Receive without the loop, whose poll, callback and Python call cost more than the rest of the work."""
        cdef Py_ssize_t came, room = 0
        cdef int descriptor = self.descriptor
        cdef char* place
        if descriptor < 0 or self.tail.is_put_off or not self.engine.may_spin():
            return False
        try:
            place = self._place(&room)
        except MemoryError as error:
            # The part of the payload that was received so far is lost, as when a transport fails to get the place.
            self.engine.report_crash(error)
            return False
        # The buffer, the payload and the socket are only used in the loop's thread, which is this one.
        with nogil:
            came = receive_soon(descriptor, place, room, LOOKS)
        if came > 0:
            if self.transport.is_closing():
                # The connection was closed from this side meanwhile; a transport would not read it any more.
                return False
            self._took_in(came)
            return True
        if came != -EAGAIN:
            # The end of the stream, or an error: the transport meets it as well, and handles it.
            self.descriptor = -1
        elif self.loop_state.turns.polls.is_armed:
            self.tail.emptied_ns = now_ns()
        return False

    # Checks

    cdef int schedule_check(self, uint64_t due_ns) except -1:
        if self.transport is not None and (
            self.check_due_ns == 0 or due_ns < self.check_due_ns or self.timer.next is NULL
        ):
            self.check_due_ns = due_ns
            self.loop_state.start_timer(self, due_ns)
        return 0

    cdef int on_timer(self) except -1:
        cdef Engine engine = self.engine
        cdef uint64_t due, late
        engine.now = now_ns()
        late = engine.now - self.check_due_ns if engine.now > self.check_due_ns else 0
        self.check_due_ns = 0
        if late > STALL_NS:
            # The loop was blocked, so silence proves nothing yet: the peer gets that time in addition.
            engine.was_late(late)
        due = engine.check(engine.now) if self.transport is not None else 0
        return self.schedule_check(due) if due else 0

    # The end

    cdef int cut_off(self) except -1:
        if self.transport is not None:
            self.end_at_once()
        return 0

    def end_at_once(self):
        """Abort the transport; its unsent bytes are lost."""
        self.transport.abort()

    def end_written(self):
        """Close the transport once it has sent its output."""
        self.transport.close()

    cdef int hold_back(self, bint is_held_back) except -1:
        self.is_held_back = is_held_back
        if self.transport is None:
            return 0
        if is_held_back:
            self.transport.pause_reading()
            self._watch_peer()
        elif not self.has_turn:
            self.tail.watched(self.loop_state.turns.polls, self.transport, False)
            self.transport.resume_reading()
        return 0

    cdef bint is_ending(self) except -1:
        return self.transport is None or self.transport.is_closing()

    cdef bint finish(self, bint lingers) except -1:
        if self.transport is None:
            return False
        self.engine.now = now_ns()
        self.is_write_paused = False
        self.leave_closed_loop()
        if self.tail.is_put_off:
            # The rest of the input is dropped but read, so that no reset discards the last output.
            self.tail.drop()
            self._read_on()
        if self.engine.output.size():
            self._write_output()
        if not lingers or not self.transport.can_write_eof() or self.transport.is_closing():
            self.end_written()
            return False
        try:
            self.transport.write_eof()
        except OSError:
            # The peer has reset the connection, which the transport has not noticed yet.
            self.transport.abort()
            return False
        return True
