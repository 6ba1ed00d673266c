"""The served connection of a protocol that is written in Python without a wire."""

from fastrpc._core.link.contract cimport Outcomes
from fastrpc._core.server.served_connection cimport ServedConnection


cdef class PythonServedConnection(ServedConnection):
    pass


cdef class PythonOutcomes(Outcomes):
    pass


# Call a method of a protocol in Python; its error ends the connection.
cdef int pass_on(object method, tuple outcome, ServedConnection connection) except -1
