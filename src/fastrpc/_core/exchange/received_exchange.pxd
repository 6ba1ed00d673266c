"""The steps of an exchange that all versions of HTTP have in common, from the head of a request to its answer."""

from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication


cdef class ReceivedExchange(Exchange):
    cdef:
        # The application, which answers.
        HttpApplication application

    # A version of HTTP implements this: tell the client to send the body that it holds back.
    cdef int send_continue(self) except -1

    # Give the request to the application.
    cdef int hand_over(self, bytes body) except -1

    # After an exception of the application.
    cdef bint answer_failure(self, object error) except -1
    cdef int log_failure(self, object error) except -1

    # Note the status of a response, of which nothing was sent.
    cdef int begin_answer(self, int status) except -1
