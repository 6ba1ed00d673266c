"""C loops around single operations of the core, which measure them without the interpreter."""

from cpython.ref cimport Py_DECREF, PyObject
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastrpc._core.balancing.breaker cimport RetryBudget
from fastrpc._core.balancing.endpoint_set cimport EndpointSet
from fastrpc._core.balancing.hash_ring cimport HashRing, hash_key
from fastrpc._core.balancing.selectors cimport BaseSelector, EndpointState
from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.base.histogram cimport MethodCounters
from fastrpc._core.base.timer_wheel cimport TICK_BITS, Timer, TimerWheel
from fastrpc._core.native.call_table cimport CallTable
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.native cimport NativeProtocol


def parse_frames(NativeProtocol protocol not None, Py_ssize_t count, bytes data not None):
    cdef Frame frame
    cdef Py_ssize_t _i, size = len(data), consumed = 0
    cdef const char* start = data
    for _i in range(count):
        consumed += protocol.parse(start, size, &frame)
    return consumed


def write_frames(NativeProtocol protocol not None, Py_ssize_t count, bytes data not None):
    cdef Frame frame
    cdef WriteBuffer out = WriteBuffer()
    cdef Py_ssize_t _i, size = len(data), written = 0
    cdef const char* start = data
    # The parser sets only the fields of the kind.
    memset(&frame, 0, sizeof(Frame))
    protocol.parse(start, size, &frame)
    for _i in range(count):
        protocol.write(out, &frame)
        written += out.size
        out.keep(0)
    return written


def add_and_take(CallTable table not None, Py_ssize_t count, uint64_t first_id, uint64_t in_flight, object entry):
    cdef uint64_t id = first_id
    cdef uint64_t end = first_id + 2 * in_flight
    cdef PyObject* taken
    while id < end:
        table.add(id, <PyObject*>entry)
        id += 2
    end += 2 * <uint64_t>count
    while id < end:
        table.add(id, <PyObject*>entry)
        taken = table.take(id - 2 * in_flight)
        Py_DECREF(<object>taken)
        id += 2
    for id in range(end - 2 * in_flight, end, 2):
        taken = table.take(id)
        Py_DECREF(<object>taken)


def add_and_cancel(TimerWheel wheel not None, Py_ssize_t count, uint64_t due_ns):
    # Stays in place and is unlinked at the end: the wheel points into it meanwhile.
    cdef Timer[TIMERS_IN_FLIGHT] timers
    cdef Py_ssize_t index
    for index in range(TIMERS_IN_FLIGHT):
        timers[index].next = timers[index].previous = NULL
    for index in range(count):
        # A re-added timer is cancelled first.
        wheel.add(&timers[index & (TIMERS_IN_FLIGHT - 1)], due_ns + <uint64_t>index * 1000)
    for index in range(TIMERS_IN_FLIGHT):
        wheel.cancel(&timers[index])


def expire(TimerWheel wheel not None, Py_ssize_t count, uint64_t now_ns, uint64_t span_ns):
    # All timers are popped, and so unlinked, before their block is freed.
    cdef Timer* timers = <Timer*>calloc(count, sizeof(Timer))
    cdef Py_ssize_t index
    cdef uint64_t passed = 0
    if timers is NULL:
        raise MemoryError
    for index in range(count):
        wheel.add(&timers[index], now_ns + <uint64_t>index * (span_ns // <uint64_t>count))
    while passed <= span_ns:
        passed += <uint64_t>1 << TICK_BITS
        wheel.advance(now_ns + passed)
        while wheel.pop_expired() is not NULL:
            pass
    free(timers)


def count_calls(MethodCounters counters not None, Py_ssize_t count, uint64_t elapsed_ns):
    cdef Py_ssize_t index
    for index in range(count):
        counters.started()
        counters.moved(48, 64)
        counters.ended(0, elapsed_ns + <uint64_t>index * 16)


def count_in_budget(RetryBudget budget not None, Py_ssize_t count):
    cdef Py_ssize_t index
    for index in range(count):
        budget.count_call(<uint64_t>index * 1000)


def pick(BaseSelector selector not None, Py_ssize_t count, list keys not None):
    cdef Py_ssize_t index
    cdef Py_ssize_t size = len(keys)
    for index in range(count):
        selector.settle(selector.choose(None, keys[index % size], None, index), 1e-3, None, index)


def place(EndpointSet endpoint_set not None, Py_ssize_t count, list keys not None):
    cdef Py_ssize_t index
    cdef Py_ssize_t size = len(keys)
    cdef int64_t ticket = 0
    cdef uint64_t now = endpoint_set.now()
    cdef EndpointState endpoint_state
    for index in range(count):
        endpoint_state = endpoint_set.choose(None, keys[index % size], "bench.echo", None, now, &ticket)
        endpoint_set.conclude(endpoint_state, "bench.echo", ticket, now, now + 1000, None)
        now += 1000


def find_nodes(HashRing ring not None, Py_ssize_t count, list keys not None):
    cdef Py_ssize_t index, number
    cdef Py_ssize_t size = len(keys)
    cdef Py_ssize_t found = 0
    for index in range(count):
        number = ring.take(hash_key(keys[index % size]))
        ring.give_back(number)
        found += number >= 0
    return found
