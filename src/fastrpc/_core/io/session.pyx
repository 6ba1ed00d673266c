"""A Connection bound to an asyncio transport: reading, flushing, and the checks that need a clock.

An `asyncio.BufferedProtocol`: the transport receives straight into the loop's shared buffer, or into the final
memory of a long payload.
"""

import logging
import random
import sys

cimport cython
from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN

from fastrpc._core.native.connection cimport PHASE_OPEN
from fastrpc._core.framing.frame cimport REASON_INTERNAL, REASON_MAX_AGE, Frame
from fastrpc._core.native.call_slots cimport WITHHELD_NS
from fastrpc._core.native.frame_reader cimport FRAMES_AT_ONCE
from fastrpc._core.native.liveness cimport new_liveness
from fastrpc._core.loop.loop_state cimport STALL_NS, loop_state
from fastrpc._core.native.send_queue cimport TRANSPORT_SHARE
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.io.socket_io cimport receive_soon, send_bytes
from fastrpc._core.io.transport_socket cimport plain_descriptor, unsent_bytes
from fastrpc._core.loop.turns cimport Turns
from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.wire cimport SECOND, now_ns

cdef enum:
    # pause_writing comes above the high mark, resume_writing below the low one.
    HIGH_WATER = 131_072
    LOW_WATER = 65_536
    # Output that is not larger goes straight to the socket.
    DIRECT_BYTES = 65_536
    # Rounds of pieces in one flush before the loop gets its turn.
    PIECE_ROUNDS = 4

# How often a spinning loop looks at the socket before other callbacks get their turn: two microseconds.
cdef int LOOKS = 8

# In asyncio of Python 3.12 and of the first 3.13 `writelines` never calls pause_writing, and so nothing calls
# resume_writing. To set the limits again makes it look.
cdef bint WRITELINES_PAUSE = not (3, 12) <= sys.version_info < (3, 13, 5)

logger = logging.getLogger("fastrpc")


cdef class Session(Connection):
    """A connection on an event loop. Made by a transport's session factory, driven by its callbacks."""

    def __init__(self, *, loop, timeouts, keepalive, spin_microseconds=0, uniform=random.uniform, **options):
        Connection.__init__(self, **options)
        self.loop_state = loop_state(loop)
        self._flush_callback = self._flush_scheduled_now
        self.spin_ns = <uint64_t>spin_microseconds * 1000
        self.descriptor = -1
        self.now = now_ns()
        self.liveness = new_liveness(self, timeouts, keepalive, uniform)
        self.liveness.is_watched = True

    def __dealloc__(self):
        if self.liveness is not None:
            self.liveness.owner = NULL

    @property
    def is_put_off(self):
        return self.reader.tail.is_put_off

    # What the transport calls

    def connection_made(self, transport):
        """Begin: a client sends its opening, a server waits for it."""
        self.transport = transport
        self._write = transport.write
        self.descriptor = plain_descriptor(transport)
        self.peer_name = transport.get_extra_info("peername")
        transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self.now = self.liveness.made_ns = self.received_ns = now_ns()
        if self.spin_ns:
            self.spinner = self.loop_state.shared_spinner()
            self.spinner.join()
        if self.liveness.handshake_ns:
            self.schedule_check(self.now + self.liveness.handshake_ns)
        if self.is_client:
            self.open()

    def get_buffer(self, Py_ssize_t hint):
        """Where the transport is to receive: a long payload's memory, else the loop's shared buffer."""
        cdef Py_ssize_t room = 0
        cdef char* place = self.reader.place(self.loop_state.buffer, &room)
        if place is self.loop_state.buffer.data:
            return self.loop_state.whole_view
        return PyMemoryView_FromMemory(place, room, PyBUF_WRITE)

    def buffer_updated(self, Py_ssize_t size):
        """`size` bytes were received into the last buffer."""
        if self.spinner is not None:
            self.spinner.has_waiting = True
        self._took_in(size)

    cdef int _took_in(self, Py_ssize_t size) except -1:
        cdef Turns turns = self.loop_state.turns
        self.now = now_ns()
        self.turn_ends_ns = turns.read_until(self.now)
        if self.now >= self.turn_ends_ns or self.reader.tail.is_put_off:
            if self.reader.keep_unseen(self.loop_state.buffer, size):
                self._heard()
                return self._put_off()
        # The frames of all connections count together: many with a few each keep the loop as well.
        self.reader.frames_left = turns.frames_left
        self._handle(size, False)
        turns.frames_left = self.reader.frames_left
        return self._put_off() if self.reader.tail.is_put_off else 0

    cdef int _heard(self) except -1:
        if self.now > self.loop_state.calm_until_ns:
            self.on_stall()
        self.received_ns = self.now
        return 0

    cdef int _handle(self, Py_ssize_t size, bint goes_on) except -1:
        """Handle so many bytes that were received, or what was put off, and answer."""
        self._heard()
        if self.spinner is not None:
            self.spinner.touch(self, self.now + self.spin_ns)
        self._is_reading = True
        try:
            if goes_on:
                self.reader.go_on(self.loop_state.buffer)
            else:
                self.reader.take_in(self.loop_state.buffer, size)
        except BaseException as error:
            # Part of the input is taken over and the rest is lost: what follows cannot be understood.
            self._crashed(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._is_reading = False
            self.on_read()
        if (
            self.callee.open_requests or self.caller.open_responses or self.assembler.cut_messages
        ) and not self.liveness.pieces_due_ns:
            self.schedule_check(self.liveness.check_pieces(self.now))
        return self.flush()

    # What is received and cannot be handled in one turn of the loop

    cdef bint on_many_frames(self) except -1:
        cdef Turns turns = self.loop_state.turns
        if self.is_closed:
            return False
        if turns.ends_ns == 0:
            self.turn_ends_ns = max(self.turn_ends_ns, turns.begin(self.now))
        self.reader.tail.is_put_off = now_ns() >= self.turn_ends_ns
        return self.reader.tail.is_put_off

    cdef int _put_off(self) except -1:
        """Let others have their turn before the rest is handled; until then nothing more is read."""
        self.reader.tail.put_off_ns = self.reader.tail.put_off_ns or self.now
        self.reader.recount_tail()
        if self.has_turn:
            return 0
        if not self.transport.is_closing():
            self.transport.pause_reading()
        self.has_turn = True
        return self.loop_state.turns.add(self)

    cdef bint on_turn(self, uint64_t ends_ns) except -1:
        if not self.reader.tail.is_put_off or self.transport is None:
            self.has_turn = False
            return False
        self.now = now_ns()
        self.turn_ends_ns = ends_ns
        self.reader.frames_left = FRAMES_AT_ONCE
        try:
            self._handle(0, True)
            self.reader.recount_tail()
        except Exception as error:
            # Whatever failed, no connection is left that is neither read from nor has a turn.
            self._crashed(error)
        finally:
            if not self.reader.tail.is_put_off:
                self._read_on()
        return self.has_turn

    cdef int _read_on(self) except -1:
        """Nothing is put off any more: read again, or hear of the end that came behind it."""
        self.reader.tail.end()
        self.has_turn = False
        self.reader.recount_tail()
        if self.transport is None or self.transport.is_closing():
            return 0
        if not self.is_held_back:
            self.transport.resume_reading()
        if self.has_end:
            self.on_eof()
            self.transport.close()
        return 0

    def eof_received(self):
        """The peer writes no more: nothing can be answered to any purpose, the transport closes."""
        if self.reader.tail.is_put_off:
            self.has_end = True
            return True
        self.on_eof()
        return False

    def connection_lost(self, error):
        """The stream is gone."""
        if self.reader.tail.is_put_off and self.is_client and not self.is_closed:
            self._hear_last_answers()
        self.transport = None
        self._write = None
        self.descriptor = -1
        self.now = now_ns()
        self.is_lost = True
        self.reader.tail.drop()
        self.reader.tail.end()
        self.reader.recount_tail()
        if self.spinner is not None:
            self.spinner.leave(self)
            self.spinner = None
        self.loop_state.stop_timer(self)
        self.is_closed = True
        self.on_lost(error)

    cdef int _hear_last_answers(self) except -1:
        """Take the answers that came before the end of the stream: they count."""
        self.turn_ends_ns = now_ns() + <uint64_t>SECOND
        try:
            self.reader.go_on(self.loop_state.buffer)
        except Exception as problem:
            # Whatever became of these answers, the end of the stream has to be told.
            logger.error("fastrpc: internal error on a connection of %s", self.peer_name, exc_info=problem)
        return 0

    def pause_writing(self):
        """The transport has enough: what follows waits here, in order."""
        self.is_write_paused = True
        self.now = now_ns()
        self._note_blocked()

    def resume_writing(self):
        """The transport takes more."""
        self.is_write_paused = False
        self.liveness.blocked_ns = 0
        self.now = now_ns()
        self.flush()
        if self._full_streams is not None:
            self._resume_streams()

    # Flushing

    cdef int on_output(self) except -1:
        if not self._is_reading and not self._flush_scheduled:
            self.schedule_flush()
        return 0

    cdef int schedule_flush(self) except -1:
        try:
            self.loop_state.call_soon(self._flush_callback)
        except RuntimeError:
            # The loop was closed around us: there is nobody left to write.
            if not self.loop_state.loop.is_closed():
                raise
            return 0
        self._flush_scheduled = True
        if self.spinner is not None:
            self.spinner.has_waiting = True
        return 0

    def _flush_scheduled_now(self):
        self._flush_scheduled = False
        self.now = now_ns()
        self.flush()

    @cython.nonecheck(False)
    cdef int flush(self) except -1:
        """Hand what may leave to the transport: everything small in one write, pieces as long as it takes them."""
        Session._pump(self)
        return 0 if self.serving is None or self.transport is None else self.serving.on_flushed()

    cdef int _pump(self) except -1:
        cdef int rounds = 0
        if self.transport is None or self.is_write_paused or self.is_closed:
            return 0
        while True:
            self.sender.pump(TRANSPORT_SHARE)
            if not self.sender.output_bytes():
                if self.sender.is_waiting():
                    # The peer returns no credit.
                    return self._note_blocked()
                return 0
            self._write_output()
            if self._full_streams is not None:
                self._resume_streams()
            if not self.sender.has_pieces() or self.is_write_paused or self.transport is None:
                return 0
            rounds += 1
            if rounds == PIECE_ROUNDS or self.transport.get_write_buffer_size():
                break
        if not self._flush_scheduled:
            self.schedule_flush()
        return 0

    cdef int _write_output(self) except -1:
        self.written += self.sender.output_bytes()
        if self.spinner is not None:
            self.spinner.touch(self, self.now + self.spin_ns)
        if self._send_directly():
            return 0
        output = self.sender.take_output()
        self.transport_holds = True
        if type(output) is bytes:
            self._write(output)
        else:
            self.transport.writelines(output)
            if not WRITELINES_PAUSE:
                self.transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        return 0

    # Calls of ours

    @property
    def is_open(self):
        """Whether both sides know each other's settings, and neither ended the connection."""
        return self.phase == PHASE_OPEN and self.transport is not None and not self.is_closed

    cdef int on_peer_drains(self, int reason, str text) except -1:
        return self.stop_calls()

    cdef int on_ids_used_up(self) except -1:
        return self.stop_calls()

    cdef int stop_calls(self) except -1:
        """No new calls of ours go out here."""
        self.is_usable = False
        return 0 if self.calling is None else self.calling.stop()

    cdef int on_withheld(self) except -1:
        return self.schedule_check(self.now + WITHHELD_NS)

    # Messages of streams

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        if call.is_local:
            return self.calling.on_message(call, frame, payload, cost)
        if call.stream is None:
            # Nobody reads it any more, and its answer has not left yet.
            return self.assembler.message_taken(call, cost)
        return (<StreamChannel>call.stream).put(frame, payload, cost)

    cdef int on_end(self, Call call) except -1:
        return 0 if call.stream is None else (<StreamChannel>call.stream).end_input(None)

    cdef int on_sendable(self, Call call) except -1:
        if call.is_local:
            return self.calling.on_sendable(call)
        return 0 if call.stream is None else (<StreamChannel>call.stream).wake_sender()

    cdef bint output_is_full(self) noexcept:
        """Return whether more output waits than streams may add to. What waits for the credit of a stream is not counted."""
        return self.is_write_paused or self.sender.output_bytes() > TRANSPORT_SHARE

    cdef int await_output(self, Call call) except -1:
        """Tell the stream of this call once our output has left."""
        if self._full_streams is None:
            self._full_streams = {}
        # Once, however often its sender gives up and waits again.
        self._full_streams[call] = None
        return 0

    cdef int _resume_streams(self) except -1:
        cdef dict calls = self._full_streams
        if not self.output_is_full():
            self._full_streams = None
            for call in calls:
                self.on_sendable(<Call>call)
        return 0

    # While the loop spins

    cdef bint on_spin(self) except -1:
        """Receive past the loop: its poll, its callback and a call of Python cost more than all the rest."""
        cdef Py_ssize_t came, room = 0
        cdef int descriptor = self.descriptor
        cdef char* place
        if descriptor < 0 or self.is_closed or self.reader.tail.is_put_off or self.phase != PHASE_OPEN:
            return False
        try:
            place = self.reader.place(self.loop_state.buffer, &room)
        except MemoryError as error:
            # As when a transport asks for the place: what it held of the payload is lost.
            self._crashed(error)
            return False
        # The loop's thread, this one, is the only one to touch the buffer, the payload on its way, and the socket.
        with nogil:
            came = receive_soon(descriptor, place, room, LOOKS)
        if came > 0:
            if self.transport.is_closing():
                # Given up from inside: a transport of its own would not have read this any more.
                return False
            self._took_in(came)
            return True
        if came != -EAGAIN:
            # The end, or an error: both show themselves to the transport as well, which knows what to do.
            self.descriptor = -1
        return False

    cdef bint _send_directly(self) except -1:
        """Send what is small past the transport; False: it has to take it, as bytes of ours wait there already."""
        cdef Py_ssize_t size = self.sender.out.size, sent
        if self.descriptor < 0 or size > DIRECT_BYTES or not self.sender.is_plain():
            return False
        if self.transport_holds:
            if self.transport.get_write_buffer_size():
                return False
            self.transport_holds = False
        if self.transport.is_closing():
            return False
        sent = send_bytes(self.descriptor, self.sender.out.data(), size)
        if sent == size:
            self.sender.skip_output()
            return True
        self.transport_holds = True
        if sent > 0:
            self._write(self.sender.take_output()[sent:])
        # Nothing went, or an error: the transport meets the same.
        return sent > 0

    cdef int leave_closed_loop(self) except -1:
        """Where no callback of the loop led to: a loop that was closed has closed its sockets too, and told nobody.

        The number of the descriptor may be that of another connection by now.
        """
        if self.loop_state.loop.is_closed():
            self.descriptor = -1
        return 0

    # Checks

    cdef int schedule_check(self, uint64_t due_ns) except -1:
        if self.check_due_ns == 0 or due_ns < self.check_due_ns or self.timer.next is NULL:
            self.check_due_ns = due_ns
            self.loop_state.start_timer(self, due_ns)
        return 0

    cdef int on_timer(self) except -1:
        cdef uint64_t due, late
        self.now = now_ns()
        late = self.now - self.check_due_ns if self.now > self.check_due_ns else 0
        self.check_due_ns = 0
        if late > STALL_NS:
            # The loop was blocked, so silence proves nothing yet: the peer gets that time back.
            self.liveness.forgive(late)
        due = self.check(self.now)
        if due and self.transport is not None:
            self.schedule_check(due)
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Return when to look again, 0 = never."""
        cdef uint64_t due
        if self.transport is None:
            return 0
        due = self.liveness.check(now)
        if self.is_closed:
            return due
        if self.serving is not None:
            due = earlier(due, self.serving.check(now))
        if self.slots.withholds and not self.is_closed and self.slots.resume_withheld():
            due = earlier(due, now + WITHHELD_NS)
        return self.liveness.linger_until_ns if self.is_closed else due

    cdef bint output_is_stuck(self) noexcept:
        return self.is_write_paused

    cdef int _note_blocked(self) except -1:
        """Something waits and cannot be written: from now on it is watched whether that changes."""
        cdef uint64_t due = 0 if self.transport is None else self.liveness.note_blocked(self.now)
        return self.schedule_check(due) if due else 0

    cdef bint has_unsent(self) except -1:
        return self.sender.is_waiting() or self.transport.get_write_buffer_size() != 0

    cdef int64_t taken_bytes(self) except? -1:
        # The system keeps megabytes, and takes more only when a third of them is gone: a slow reader needs long for that.
        cdef int64_t waiting = self.transport.get_write_buffer_size()
        return self.written - waiting - unsent_bytes(self.transport)

    def note_probe(self):
        self.liveness.probes += 1

    def buffered_bytes(self):
        """Bytes of ours that the peer has not taken: here and in the transport."""
        return self.untaken_bytes()

    cdef uint64_t untaken_bytes(self) except? 0:
        cdef uint64_t size = self.sender.unsent_bytes()
        if self.transport is not None:
            size += <uint64_t>self.transport.get_write_buffer_size()
        return size

    cdef int cut_off(self) except -1:
        if self.transport is not None:
            self.transport.abort()
        return 0

    # The end

    def begin_drain(self, int reason, str text=""):
        """Take no new calls: GOAWAY now, FINAL once the peer knows."""
        self.now = now_ns()
        if self.serving is not None:
            self.serving.on_drain()
        self.start_drain(reason, text)
        self.schedule_check(self.liveness.begin_drain(self.now))

    @property
    def has_drained(self):
        """Whether the peer knows that nothing new is taken, and the transport has all our bytes."""
        if self.is_closed:
            return True
        if not self.is_client and self.slots.opened.size:
            # Nor does a server leave before its own calls are over.
            return False
        return self.drain_step == 2 and not self.is_write_paused and self.sender.unsent_bytes() == 0

    def close(self, int reason=0, str text=""):
        """Say why, flush, and close as soon as the peer has read it."""
        self.now = now_ns()
        if self.transport is None:
            return
        if self.drain_step == 2 and reason <= REASON_MAX_AGE:
            # It has been said.
            self._end_connection(reason, text, False)
        else:
            self.close_with(reason, text)

    def abort(self):
        """Close at once, unsent bytes are lost."""
        self.cut_off()

    cdef int on_closed(self) except -1:
        self.is_usable = False
        if self.serving is not None:
            self.serving.on_closed()
        # What is written already leaves together with the GOAWAY: only then is it known what was not handed over.
        self._shut_down()
        return 0 if self.calling is None else self.calling.fail_all(self.closed_text or "it was closed")

    cdef int _shut_down(self) except -1:
        """Flush and shut down writing; go on reading until the peer closes, so that no reset eats our last words."""
        if self.transport is None:
            return 0
        self.now = now_ns()
        self.is_write_paused = False
        self.leave_closed_loop()
        if self.reader.tail.is_put_off:
            # What it had still to say is dropped, but read: see below.
            self.reader.tail.drop()
            self._read_on()
        if self.sender.output_bytes():
            self._write_output()
        if self.liveness.linger_ns and self.transport.can_write_eof() and not self.transport.is_closing():
            self.liveness.linger_until_ns = self.now + self.liveness.linger_ns
            try:
                self.transport.write_eof()
            except OSError:
                # The peer has reset the connection, which the transport has not noticed yet.
                self.transport.abort()
                return 0
            self.schedule_check(self.liveness.linger_until_ns)
        else:
            self.transport.close()
        return 0

    # Hooks

    cdef int on_ready(self) except -1:
        """The connection is open: from now on its life is watched."""
        cdef uint64_t due = self.check(self.now)
        if due and self.transport is not None:
            self.schedule_check(due)
        return 0

    cdef int on_used(self) except -1:
        """Hook: a call goes out, and somebody wanted to hear of it."""
        return 0

    cdef int on_read(self) except -1:
        """All that was received is handled."""
        return 0 if self.serving is None else self.serving.on_read()

    cdef int on_stall(self) except -1:
        """This read comes behind a stall of the loop, or nobody watches for stalls."""
        return 0 if self.serving is None else self.serving.on_stall()

    cdef int on_eof(self) except -1:
        """The peer shut down writing."""
        return 0

    cdef int on_lost(self, object error) except -1:
        """The stream is gone; whatever is still under way has to end now."""
        cdef str why = self.closed_text
        self.is_usable = False
        if self.serving is not None:
            self.serving.on_lost(error)
        if self.calling is None:
            return 0
        if not why:
            other = "server" if self.is_client else "client"
            why = str(error) if error is not None else f"the {other} closed it"
        return self.calling.fail_all(why)

    def _crashed(self, error):
        logger.error("fastrpc: internal error on a connection of %s", self.peer_name, exc_info=error)
        try:
            self.close_with(REASON_INTERNAL, "internal error")
        except Exception as problem:
            logger.error("fastrpc: nor can %s be told", self.peer_name, exc_info=problem)
            self.abort()
