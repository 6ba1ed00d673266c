"""The served connection of messages from a broker: their calls have no caller and no byte stream."""

cimport cython

from fastrpc._core.calls.call cimport Call
from fastrpc._core.link.contract cimport Forms
from fastrpc._core.server.python_served_connection cimport PythonOutcomes, PythonServedConnection


cdef class DeliveringConnection(PythonServedConnection):
    cdef:
        # The call whose payload was coded last; None once any call has ended.
        readonly Call decoded


@cython.final
cdef class DeliveringForms(Forms):
    pass


@cython.final
cdef class DeliveringOutcomes(PythonOutcomes):
    pass
