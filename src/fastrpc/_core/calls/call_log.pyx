"""The log of ended calls: the choice of calls, the ids that join the records of one request, and the records.

A server passes to its log each call that reached a handler or its interceptors. A call that is not chosen costs a few
comparisons and a counter: no Python code runs for it, and no random number is drawn.

A request id is sent in the metadata entry `frpc-request-id`. The first tier with a log makes it when a record or a call
made inside first needs it. The caller's own id is kept if it is plain: 1 to 128 letters, digits, `.`, `_` or `-`. The
id decides whether a call is sampled, so all tiers choose the same requests.

The records of the access log are ordinary log records, made in a fifth of the time that `logging` takes.
`LogRecord.__init__` looks up its thread, its process and the parts of its file's name, which are the same for
successive records. Here they are looked up once a second, in a new thread, and after a fork; each record gets a copy.
If the program has set a record factory, the factory makes the records.
"""

import logging
import os
import re
import sys
from collections import deque
from time import time

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.math cimport log, log1p
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from fastrpc._core.base.histogram cimport labels_of
from fastrpc._core.base.wire cimport load16, now_ns, store16
from fastrpc._core.payload.metadata cimport has_any_key

from fastrpc.escaping import printable
from fastrpc.status import Status

# The logger of the server itself; its calls have another logger.
server_logger = logging.getLogger("fastrpc.server")

cdef enum:
    # Bytes of the head of a metadata entry (PROTOCOL.md, "Metadata").
    ENTRY_HEAD = 4
    LONGEST_ID = 128
    # The number of digits of an id that is made here.
    MADE_ID = 32

cdef bytes KEY = b"frpc-request-id"
cdef uint64_t ALL = <uint64_t>0xFFFFFFFFFFFFFFFF
# More calls than any server serves: in effect all calls are left out.
cdef uint64_t MOST_LEFT_OUT = <uint64_t>1 << 62

# Constants of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
cdef uint64_t GOLDEN = <uint64_t>0x9E3779B97F4A7C15

# FNV-1a with 64 bits.
cdef uint64_t FNV_BASIS = <uint64_t>0xCBF29CE484222325
cdef uint64_t FNV_PRIME = <uint64_t>0x100000001B3

# The state of the two generators of ids, newly seeded in each process: ids have to be unique, not secret.
cdef uint64_t first_state, second_state

logger = logging.getLogger("fastrpc.access")

cdef enum:
    MICROSECOND_NS = 1_000
    # Most method names that are kept: more than a server has, and a bound against clients that make up names.
    MOST_NAMES = 1_024

# The fields of a call that `EndedCalls` keeps, and the longest text among them.
FIELDS_OF_ENDED = ("ended", "method", "status", "seconds", "peer", "identity", "request_id", "trace_id", "error_id")
cdef Py_ssize_t LONGEST_SHOWN = 256

# The key in `Call.state` for the error id of a crashed handler, under which the log has the exception.
ERROR_ID = "fastrpc.error_id"

# Seconds after which a record shows a changed thread or level name at the latest.
cdef double TEMPLATE_SECONDS = 1

# The fields of a call, in the order in which a JSON line has them.
FIELDS = (
    "side", "service", "method", "peer", "identity", "bytes", "trace_id", "request_id", "status", "duration_ms",
)

STATUS_NAMES = {int(status): status.name for status in Status}

# The W3C trace context, version 00 and later ones: version, trace id, parent id, flags.
TRACE_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace_id>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
cdef frozenset TRACE_PARENT_KEY = frozenset({b"traceparent"})

LogRecord = logging.LogRecord

# The number of forks that led to this process.
cdef int forks_here = 0


def _seed():
    global first_state, second_state
    first_state = int.from_bytes(os.urandom(8), "little")
    second_state = int.from_bytes(os.urandom(8), "little")


_seed()
os.register_at_fork(after_in_child=_seed)


cdef inline uint64_t mixed(uint64_t value) noexcept:
    value = (value ^ (value >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t>0x94D049BB133111EB
    return value ^ (value >> 31)


@cython.final
cdef class CallLog:
    """The log of ended calls: it chooses calls and passes them to a function that writes the records."""

    def __init__(self, write, double sample, slow_seconds):
        self.write = write
        self.makes_ids = True
        self.sample = sample
        self.chosen = ALL if sample >= 1 else <uint64_t>(sample * 18446744073709551616.0)
        self.slow_ns = ALL if slow_seconds is None else <uint64_t>(<double>slow_seconds * 1e9)
        self.state = int.from_bytes(os.urandom(8), "little")
        _draw(self)

    cdef int write_if_chosen(self, Call call, int status, uint64_t nanoseconds) except -1:
        if _is_chosen(self, call, status, nanoseconds):
            try:
                self.write(call, status, nanoseconds)
            except Exception as problem:
                logger.error("a record of %s could not be written", call.route.method, exc_info=problem)
        return 0

    def note_end(self, Call call not None, int status):
        """Log a call that ends now, if it is chosen."""
        cdef uint64_t now = now_ns()
        self.ended(call, status, now - min(now, call.started_ns))


cdef bint _is_chosen(CallLog call_log, Call call, int status, uint64_t nanoseconds) except -1:
    if call_log.chosen == ALL or status != 0 or nanoseconds >= call_log.slow_ns:
        return True
    if call_log.chosen == 0:
        return False
    find_request_entry(call, False)
    if call.request_entry is not None:
        return mixed(hash_of(call.request_entry)) < call_log.chosen
    if call_log.left_out:
        call_log.left_out -= 1
        return False
    _draw(call_log)
    return call_log.chosen != 0


cdef int _draw(CallLog call_log) noexcept:
    """Draw the number of calls to leave out before the next record, as if each call were drawn separately."""
    cdef double number
    if call_log.sample >= 1:
        call_log.left_out = 0
        return 0
    if call_log.sample > 0:
        call_log.state += GOLDEN
        # From 2^-53 to 1. The gaps between independent choices have a geometric distribution.
        number = <double>((mixed(call_log.state) >> 11) + 1) * (1.0 / 9007199254740992.0)
        number = log(number) / log1p(-call_log.sample)
        if number < <double>MOST_LEFT_OUT:
            call_log.left_out = <uint64_t>number
            return 0
    call_log.left_out = MOST_LEFT_OUT
    return 0


cdef uint64_t hash_of(bytes entry) noexcept:
    cdef const char* data = PyBytes_AS_STRING(entry)
    cdef uint64_t found = FNV_BASIS
    cdef Py_ssize_t i
    for i in range(PyBytes_GET_SIZE(entry)):
        found = (found ^ <uint8_t>data[i]) * FNV_PRIME
    return found


cdef int find_request_entry(Call call, bint make) except -1:
    cdef bytes entry = None
    if call.request_entry is not None:
        return 0
    if call.received_metadata is not None and not call.is_local:
        entry = plain_entry(call.received_metadata)
    if entry is None and make:
        entry = new_entry()
    # No Python code runs above, so no other thread can have set another entry meanwhile.
    call.request_entry = entry
    return 0


cdef bytes plain_entry(bytes metadata):
    """Return the entry with the caller's id, or None without a plain id. The metadata was checked on arrival."""
    cdef const char* data = PyBytes_AS_STRING(metadata)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(metadata), at = 0, key_size, value_size
    cdef Py_ssize_t length = PyBytes_GET_SIZE(KEY)
    while at + ENTRY_HEAD <= size:
        key_size = <uint8_t>data[at]
        value_size = load16(data + at + 2)
        if at + ENTRY_HEAD + key_size + value_size > size:
            return None
        if key_size == length and memcmp(data + at + ENTRY_HEAD, PyBytes_AS_STRING(KEY), length) == 0:
            if is_plain(data + at + ENTRY_HEAD + key_size, value_size):
                return metadata[at:at + ENTRY_HEAD + key_size + value_size]
            return None
        at += ENTRY_HEAD + key_size + value_size
    return None


cdef bint is_plain(const char* text, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i
    cdef unsigned char c
    if not 0 < size <= LONGEST_ID:
        return False
    for i in range(size):
        c = <unsigned char>text[i]
        if not (b"a" <= c <= b"z" or b"A" <= c <= b"Z" or b"0" <= c <= b"9" or c in (b".", b"_", b"-")):
            return False
    return True


cdef bytes new_entry():
    global first_state, second_state
    cdef Py_ssize_t key_size = PyBytes_GET_SIZE(KEY)
    cdef bytes entry = PyBytes_FromStringAndSize(NULL, ENTRY_HEAD + key_size + MADE_ID)
    cdef char* place = PyBytes_AS_STRING(entry)
    first_state += GOLDEN
    second_state += GOLDEN
    place[0] = <char>key_size
    place[1] = 0
    store16(place + 2, MADE_ID)
    memcpy(place + ENTRY_HEAD, PyBytes_AS_STRING(KEY), key_size)
    put_hex(place + ENTRY_HEAD + key_size, mixed(first_state))
    put_hex(place + ENTRY_HEAD + key_size + MADE_ID // 2, mixed(second_state))
    return entry


cdef int put_hex(char* place, uint64_t value) noexcept:
    """Write a number as hexadecimal digits: half of a made id."""
    cdef int i
    for i in range(MADE_ID // 2):
        place[i] = b"0123456789abcdef"[(value >> (60 - 4 * i)) & 15]
    return 0


cdef str request_id_of_call(Call call):
    """Return the id of a call's request; it is made on first use."""
    cdef Py_ssize_t at = ENTRY_HEAD + PyBytes_GET_SIZE(KEY)
    find_request_entry(call, True)
    return PyUnicode_DecodeASCII(
        PyBytes_AS_STRING(call.request_entry) + at, PyBytes_GET_SIZE(call.request_entry) - at, NULL
    )


def request_id_of(Call call not None):
    """Return the id of a call's request; it is made on first use."""
    return request_id_of_call(call)


def _forked():
    global forks_here
    forks_here += 1


os.register_at_fork(after_in_child=_forked)


@cython.final
cdef class AccessRecords:
    """Writes the records of ended calls to a logger."""

    def __init__(self, logger, level, str source not None):
        self.logger = logger
        self.level = level
        self.source = source
        self.names = {}

    def write(self, Call call not None, status, unsigned long long nanoseconds):
        """Write the record of a call that ended with this status after this number of nanoseconds."""
        if self.logger.isEnabledFor(self.level):
            _write(self, call, status, nanoseconds)


cdef int _write(AccessRecords records, Call call, object status, unsigned long long nanoseconds) except -1:
    cdef unsigned long long microseconds = (nanoseconds + MICROSECOND_NS // 2) // MICROSECOND_NS
    cdef object identity = call.identity
    cdef str method, service, name = STATUS_NAMES[status]
    cdef dict fields = _now(records)
    method, service = _names_of(records, call)
    text = f"{method} {name} {microseconds // 1000}.{microseconds % 1000:03d} ms"
    # Texts of a peer are escaped, as formats may print them.
    fields["side"] = "client" if call.is_local else "server"
    fields["service"] = service
    fields["method"] = method
    fields["peer"] = shown_peer(call.get_peer())
    fields["identity"] = None if identity is None else printable(identity.name)
    fields["bytes"] = call.moved_bytes
    fields["trace_id"] = trace_id_of(call)
    fields["request_id"] = request_id_of_call(call)
    fields["status"] = name
    fields["duration_ms"] = <double>microseconds / 1000
    # `Logger.log` would be slower: it searches the stack for its caller, and checks the name of each field.
    records.logger.handle(_new_record(records, text, fields))
    return 0


cdef object _new_record(AccessRecords records, str text, dict fields):
    factory = logging.getLogRecordFactory()
    if factory is LogRecord:
        fields["msg"] = text
        record = LogRecord.__new__(LogRecord)
        record.__dict__ = fields
        return record
    record = factory(records.logger.name, records.level, records.source, 0, text, (), None, "AccessLog")
    record.__dict__.update({key: fields[key] for key in FIELDS})
    return record


cdef dict _now(AccessRecords records):
    """Return the fields of a record that is made now."""
    cdef double created = time()
    cdef dict fields
    if (
        records.template is None
        or not 0 <= created - records.made_at < TEMPLATE_SECONDS
        or records.forks != forks_here
        or records.thread != PyThread_get_thread_ident()
    ):
        _renew(records)
    fields = records.template.copy()
    fields["created"] = created
    fields["msecs"] = <double><int>((created - <long long>created) * 1000)
    fields["relativeCreated"] = (created - records.imported_at) * 1000
    if "taskName" in fields:
        # Since Python 3.12.
        fields["taskName"] = task_name()
    return fields


cdef int _renew(AccessRecords records) except -1:
    record = LogRecord(records.logger.name, records.level, records.source, 0, "", (), None, "AccessLog")
    # The template already has the keys of a call's fields, so that copies need not be enlarged.
    records.template = {**record.__dict__, **dict.fromkeys(FIELDS)}
    records.thread = PyThread_get_thread_ident()
    records.forks = forks_here
    records.made_at = record.created
    records.imported_at = records.made_at - record.relativeCreated / 1000
    return 0


cdef tuple _names_of(AccessRecords records, Call call):
    cdef object names = records.names.get(call.route.method)
    if names is None:
        method = printable(call.route.method)
        names = (method, labels_of(method)[0])
        if len(records.names) >= MOST_NAMES:
            records.names.clear()
        records.names[call.route.method] = names
    return names


@cython.final
cdef class EndedCalls:
    """A ring of the last logged calls and their known values."""

    def __init__(self, int most):
        self.calls = deque(maxlen=most)

    def write(self, Call call not None, status, unsigned long long nanoseconds):
        """Keep a call that ended with a status after this time, and drop the oldest call."""
        cdef object identity = call.identity
        # False: a request without an id stays without.
        find_request_entry(call, False)
        self.calls.append((
            time(),
            shown(call.route.method),
            STATUS_NAMES[status],
            nanoseconds * 1e-9,
            shown_peer(call.get_peer()),
            None if identity is None else shown(identity.name),
            None if call.request_entry is None else request_id_of_call(call),
            trace_id_of(call),
            noted(call._state, ERROR_ID),
        ))


cdef str shown(str text):
    """Return a peer's text escaped for display on pages, and shortened if it is very long."""
    return printable(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")


cdef str noted(dict state, str key):
    """Return an entry of a call's state if it is a text, else None."""
    text = None if state is None else state.get(key)
    return text if isinstance(text, str) else None


cdef object task_name():
    """Return the running task's name, or None: outside of tasks, or if `logging.logAsyncioTasks` is off."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not logging.logAsyncioTasks:
        return None
    try:
        task = asyncio.current_task()
    except RuntimeError:  # No loop runs in this thread.
        return None
    return None if task is None else task.get_name()


cdef object shown_peer(object peer):
    """Return a peer's address as text, cached on the peer; None without a peer."""
    if peer is None:
        return None
    if not peer._shown:
        peer._shown = printable(str(peer.address))
    return peer._shown


cdef object trace_id_of(Call call):
    """Return the id of the call's trace: from its span, else from its metadata."""
    own = noted(call._state, "trace_id")
    if own is not None:
        return own
    if not call.is_local and (
        call.received_metadata is None or not has_any_key(call.received_metadata, TRACE_PARENT_KEY)
    ):
        return None
    found = TRACE_PARENT.match(call.metadata.get("traceparent", ""))
    return None if found is None else found["trace_id"]


cdef int report_long_step(MethodRoute route, uint64_t nanoseconds) except -1:
    """Log that a handler blocked the loop: meanwhile no other call ran, and no PING was answered."""
    seconds = nanoseconds / 1e9
    server_logger.warning(
        "%s blocked the loop for %.1f s; run blocking code in a thread: a `def` handler, or asyncio.to_thread",
        route.method,
        seconds,
        extra={"service": route.method.rpartition(".")[0], "method": route.method, "seconds": seconds},
    )
    return 0
