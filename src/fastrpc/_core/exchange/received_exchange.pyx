"""The steps of an exchange that all versions of HTTP have in common, from the head of a request to its answer."""

import logging

from fastrpc._core.exchange.request_watch cimport watch_status
from fastrpc._core.link.contract cimport lacking

from fastrpc._core.exchange.request_head import RequestRefusedError

logger = logging.getLogger("fastrpc.server")


cdef class ReceivedExchange(Exchange):
    """A request as its connection receives it."""

    cdef int send_continue(self) except -1:
        """Send 100 Continue."""
        raise lacking(self, "send_continue")

    cdef int hand_over(self, bytes body) except -1:
        """Give the request to the application, with its whole body or before the rest of it arrives."""
        self.is_answering = True
        try:
            self.application.request_came(self, body)
        except RequestRefusedError:
            raise
        except Exception as error:
            self.answer_failure(error)
        return 0

    cdef bint answer_failure(self, object error) except -1:
        """Log an exception of the application, then answer with 500 (True) or abort a begun answer (False)."""
        cdef bint answers = self.is_answering and not self.has_begun
        self.log_failure(error)
        if answers:
            self.answer(500, b"", b"", True)
        else:
            self.abort()
        return answers

    cdef int log_failure(self, object error) except -1:
        """Log an exception of the application."""
        logger.error("a request of %s failed", self.engine().peer_name, exc_info=error)
        return 0

    cdef int begin_answer(self, int status) except -1:
        if not self.is_answering or self.has_begun:
            raise RuntimeError("there is no request to answer")
        return watch_status(self.watch, status)

    cdef int skip_body(self) except -1:
        self.takes_parts = False
        return self.hand_over(b"")

    cdef int ask_body(self) except -1:
        if not self.asks_later:
            return 0
        self.asks_later = False
        if not self.has_begun:
            # After the head of the response the client would read `100 Continue` as a part of the response.
            self.send_continue()
        return self.hold_body(False)
