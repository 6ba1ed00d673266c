"""Bodies that are read in parts: lines, messages of gRPC-Web and Connect, forms, bodies of mounted applications."""

from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.request_state cimport BodyReading

# Return the reader for the body of a request that is read in parts.
cdef BodyReading reading_of(HttpTerms terms)
