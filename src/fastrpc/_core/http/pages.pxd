"""Pages that may send a request, and the fields that tell browsers so (CORS)."""

from fastrpc._core.http.service cimport HttpService
from fastrpc._core.http1.head cimport RequestHead

# Return whether the page that sent a request may; `origin` is set for one from elsewhere that may.
cdef bint takes_page(HttpService service, RequestHead head, list origin) except -1

# Return whether a browser asks with this request whether it may send another one.
cdef bint is_preflight(RequestHead head) except -1

# Return the fields of the answer to that.
cdef bytes preflight_lines(RequestHead head, bytes origin)

# Return the fields that let the page of an origin read an answer.
cdef bytes shared_lines(bytes origin, bytes metadata_fields)
