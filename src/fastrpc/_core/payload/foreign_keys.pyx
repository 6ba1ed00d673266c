"""Metadata keys from protocols of Go programs, where a key may have any bytes.

Our keys are 1 to 255 of a-z 0-9 . _ -. A call goes on without an entry whose key has another form: the entry is counted, and
the first one is logged. That holds on both wires, of rpcx and of Phobos, and in both of their header gateways.
"""

from fastrpc._core.base.histogram import count_dropped

cdef enum:
    LONGEST_KEY = 255

cdef frozenset KEY_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")


cdef bint has_form(bytes key) except -1:
    return 0 < len(key) <= LONGEST_KEY and KEY_BYTES.issuperset(key)


cdef int note_dropped(list dropped, str protocol, object logger, bint is_told) except -1:
    for _ in dropped:
        count_dropped(protocol)
    if not is_told:
        text = "%s: the metadata entry %s is left out, keys are 1 to 255 of a-z 0-9 . _ - in either case (told once)"
        logger.warning(text, protocol, shown_key(dropped[0]))
    return 0


cdef str shown_key(bytes key):
    return ascii(key[:100].decode("utf-8", "replace"))
