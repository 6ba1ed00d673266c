"""The records of the access log: ordinary log records, made in a fifth of the time that `logging` takes for one.

`LogRecord.__init__` asks for its thread, its process and the parts of its file's name, which are the same for one record
after the other. Here they are read once a second, in another thread, and after a fork; a record gets a copy. If the
program has set a factory of records, the factory makes them.
"""

import logging
import os
import re
import sys
from time import time

cimport cython
from cpython.pythread cimport PyThread_get_thread_ident

from fastrpc._core.calls.call_log cimport request_id_of_call
from fastrpc._core.payload.metadata cimport has_any_key

from fastrpc.escaping import printable
from fastrpc.status import Status

cdef enum:
    MICROSECOND_NS = 1_000
    # Names of methods that are kept: more than a server has, and a bound for a client that makes names up.
    MOST_NAMES = 1_024

# A renamed thread or level is seen after at most so many seconds.
cdef double TEMPLATE_SECONDS = 1

# The fields of a call, in the order of a line of JSON.
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
        """Write the record of a call that ended with a status after so many nanoseconds."""
        if self.logger.isEnabledFor(self.level):
            self._write(call, status, nanoseconds)

    cdef int _write(self, Call call, object status, unsigned long long nanoseconds) except -1:
        cdef unsigned long long microseconds = (nanoseconds + MICROSECOND_NS // 2) // MICROSECOND_NS
        cdef object peer = call.get_peer(), identity = call.identity
        cdef str method, service, name = STATUS_NAMES[status]
        cdef dict fields = self._now()
        method, service = self._names_of(call)
        text = f"{method} {name} {microseconds // 1000}.{microseconds % 1000:03d} ms"
        # Texts of a peer are escaped, as formats may print them.
        fields["side"] = "client" if call.is_local else "server"
        fields["service"] = service
        fields["method"] = method
        fields["peer"] = None if peer is None else peer._shown or shown_address(peer)
        fields["identity"] = None if identity is None else printable(identity.name)
        fields["bytes"] = call.moved_bytes
        fields["trace_id"] = trace_id_of(call)
        fields["request_id"] = request_id_of_call(call)
        fields["status"] = name
        fields["duration_ms"] = <double>microseconds / 1000
        # `Logger.log` would look for its caller in the stack, and for each of these fields among its own.
        self.logger.handle(self._new_record(text, fields))
        return 0

    cdef object _new_record(self, str text, dict fields):
        factory = logging.getLogRecordFactory()
        if factory is LogRecord:
            fields["msg"] = text
            record = LogRecord.__new__(LogRecord)
            record.__dict__ = fields
            return record
        record = factory(self.logger.name, self.level, self.source, 0, text, (), None, "AccessLog")
        record.__dict__.update({key: fields[key] for key in FIELDS})
        return record

    cdef dict _now(self):
        """Return the fields of a record that is made now."""
        cdef double created = time()
        cdef dict fields
        if (
            self.template is None
            or not 0 <= created - self.made_at < TEMPLATE_SECONDS
            or self.forks != forks_here
            or self.thread != PyThread_get_thread_ident()
        ):
            self._renew()
        fields = self.template.copy()
        fields["created"] = created
        fields["msecs"] = <double><int>((created - <long long>created) * 1000)
        fields["relativeCreated"] = (created - self.imported_at) * 1000
        if "taskName" in fields:
            # Since Python 3.12.
            fields["taskName"] = task_name()
        return fields

    cdef int _renew(self) except -1:
        record = LogRecord(self.logger.name, self.level, self.source, 0, "", (), None, "AccessLog")
        # Their keys are added before copying, or each copy would have to grow.
        self.template = {**record.__dict__, **dict.fromkeys(FIELDS)}
        self.thread = PyThread_get_thread_ident()
        self.forks = forks_here
        self.made_at = record.created
        self.imported_at = self.made_at - record.relativeCreated / 1000
        return 0

    cdef tuple _names_of(self, Call call):
        cdef object names = self.names.get(call.route.method)
        if names is None:
            method = printable(call.route.method)
            names = (method, method.rpartition(".")[0])
            if len(self.names) >= MOST_NAMES:
                self.names.clear()
            self.names[call.route.method] = names
        return names


cdef object task_name():
    """Return the name of the running task, as `logging` does; None outside of tasks, or if it is not asked for."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not logging.logAsyncioTasks:
        return None
    try:
        task = asyncio.current_task()
    except RuntimeError:  # No loop runs in this thread.
        return None
    return None if task is None else task.get_name()


cdef object shown_address(object peer):
    """Return the address of a peer as text; it is kept with the peer for further calls."""
    peer._shown = printable(str(peer.address))
    return peer._shown


cdef object trace_id_of(Call call):
    """Return the id of the trace that the call belongs to: that of its span, else that in its metadata."""
    own = None if call._state is None else call._state.get("trace_id")
    if isinstance(own, str):
        return own
    if not call.is_local and (
        call.received_metadata is None or not has_any_key(call.received_metadata, TRACE_PARENT_KEY)
    ):
        return None
    found = TRACE_PARENT.match(call.metadata.get("traceparent", ""))
    return None if found is None else found["trace_id"]
