"""The served connection of messages from a broker. Calls of messages have no caller and no byte stream."""

from fastrpc._core.calls.call cimport Call
from fastrpc._core.server.python_served_connection cimport PythonServedConnection


cdef class DeliveringConnection(PythonServedConnection):
    cdef:
        # The call whose payload is decoded next; the decoder clears it.
        public Call decoded
