"""The HTTP status and fields that a handler sets on a server behind a gateway.

::

    gateway ──► frpc-http: 1 ──────────────────────────────────► server      its handler calls `http()`
            ◄── frpc-http-bin: [status, [[name, value]…], compress] ──┘      which the gateway's call repeats

These entries of the metadata are hidden from programs. Streams do not have them.
"""

import msgspec

from fastrpc._core.payload.metadata cimport entries_of
from fastrpc._core.server.http_answer cimport TOLD_KEY
from fastrpc._core.server.served_call cimport ServerCall

from fastrpc._core.calls.call import current_call

ASKS_FIELDS = b"\x09\0\x01\0frpc-http1"
cdef object Told = tuple[int, list[tuple[str, str]], bool | None]


def take_told(bytes block not None):
    for key, value in entries_of(block):
        if key == TOLD_KEY:
            status, fields, compress = msgspec.msgpack.decode(value, type=Told)
            (<ServerCall?>current_call()).note_http(status or None, dict(fields), compress, True)
            return
