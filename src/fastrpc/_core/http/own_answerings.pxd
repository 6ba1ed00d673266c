"""The answers of the gateway's own forms: values, streams, parts of documents."""

from fastrpc._core.http.answering cimport Answering, BareAnswering


cdef class ValueAnswering(BareAnswering):
    pass


# Objects without state, which all requests share.
cdef Answering BY_VALUE
cdef Answering BY_STREAM
cdef Answering AS_PART
