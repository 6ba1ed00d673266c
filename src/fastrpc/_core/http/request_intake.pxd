"""The way of an exchange's requests into the gate, and the bodies that come in parts."""

from libc.stdint cimport uint64_t

from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.server.served_call cimport ServerCall

# Hand the call of the request to the gate.
cdef int pass_in(RequestState request, bytes payload) except -1

# Count the received part of a body; a body over a budget is refused before its rest.
cdef int count_body(RequestState request, Py_ssize_t size) except -1

# Give a message to the stream of its call.
cdef int put_message(RequestState request, ServerCall call, bytes message, int compressor) except -1

# Note the last message; a call that has not begun gets the body's fault as its refusal.
cdef int end_input(RequestState request, object error) except -1

# Answer a request whose deadline passes before its rest came, and close; return that deadline, 0 = none.
cdef uint64_t check_rest(RequestState request, uint64_t now) except? 0
