"""The steps of an exchange that all versions of HTTP have in common, from the head of a request to its answer."""

from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication


cdef class ReceivedExchange(Exchange):
    cdef:
        # Answers the requests.
        HttpApplication application

    # Tell the client to send the body that it holds back. Each version of HTTP implements this.
    cdef int send_continue(self) except -1

    # Give the request to the application.
    cdef int hand_over(self, bytes body) except -1

    # Called after an exception of the application.
    cdef bint answer_failure(self, object error) except -1
    cdef int log_failure(self, object error) except -1

    # Note the status of a response before anything of it is sent.
    cdef int begin_answer(self, int status) except -1
