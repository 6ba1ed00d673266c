"""A message on its way out that could not be written at once, and the answers that stand for failures."""

cimport cython

from fastrpc._core.framing.frame cimport MESSAGE_LIMIT

from fastrpc.errors import EncodeError

# The end of a text that was cut.
cdef bytes ELLIPSIS = "…".encode()


# The trashcan lets a long chain go without as deep a recursion.
@cython.final
@cython.trashcan(True)
cdef class Outgoing:
    """A message on its way out that could not be written at once."""


cdef Outgoing new_item(Call call, int kind, bytes payload):
    cdef Outgoing item = Outgoing.__new__(Outgoing)
    item.call = call
    item.kind = kind
    item.payload = payload
    return item


cdef Outgoing new_failure(int status, int outcome, str text):
    """Make the answer that stands for a failure; a text that is too long for the wire is cut between characters."""
    cdef Outgoing failure = Outgoing.__new__(Outgoing)
    cdef bytes raw = text.encode("utf-8", "replace")
    if len(raw) > MESSAGE_LIMIT:
        raw = raw[:MESSAGE_LIMIT - len(ELLIPSIS)].decode("utf-8", "ignore").encode() + ELLIPSIS
    failure.status = status
    failure.outcome = outcome
    failure.text = raw
    failure.payload = b""
    return failure


cdef object too_large(Py_ssize_t size, uint64_t limit):
    return EncodeError(
        f"the message has {size} bytes, the peer takes at most {limit}",
        hint="raise Limits.message_bytes on the other side",
    )


cdef int drop_dead(Queue queue) except -1:
    """Remove dropped messages from the front of a queue."""
    while queue and (<Outgoing>queue[0]).is_dropped:
        queue.popleft()
    return 0


cdef int forget_dropped(tuple queues, Py_ssize_t* dropped) except -1:
    """Take dropped messages out of queues once they are as many as the others."""
    cdef Queue queue
    if dropped[0] < sum(map(len, queues)) // 2:
        return 0
    for queue in queues:
        live = [item for item in queue if not (<Outgoing>item).is_dropped]
        queue.replace(live)
    dropped[0] = 0
    return 0
