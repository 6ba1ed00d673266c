"""The base of the engines that speak HTTP/2, of either side: frames into hooks, orders into frames, all rules in between."""

cdef class Http2Connection(Engine):
    """The state of one connection of HTTP/2, without input and output."""

    # Hooks: a side implements these

    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1:
        return 0

    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        return 0

    cdef Assembly sink_for(self, Http2Stream stream):
        return None

    cdef int on_placed(self, Http2Stream stream, Py_ssize_t size, bint ends_stream) except -1:
        return 0

    cdef int on_trailers(self, Http2Stream stream, HeaderBlock block) except -1:
        return 0

    cdef int on_reset(self, Http2Stream stream, uint32_t code) except -1:
        return 0

    cdef int on_stream_violation(self, Http2Stream stream, const Violation* violation) except -1:
        return 0

    cdef int on_over(self, Http2Stream stream) except -1:
        return 0

    cdef int on_refused(self, uint32_t id, HeaderBlock block) except -1:
        return 0

    cdef int on_sendable(self, Http2Stream stream) except -1:
        return 0

    cdef int on_settings(self) except -1:
        return 0

    cdef int on_goaway(self, uint32_t last_stream, uint32_t code, bytes debug, list not_taken) except -1:
        return 0

    cdef int on_violation(self, int code, str text) except -1:
        return 0

    cdef int on_closed(self) except -1:
        return 0

    # Orders

    cdef int set_up(self, bint is_client, uint32_t streams, uint32_t window_bytes, uint32_t header_list_bytes) except -1:
        raise NotImplementedError()

    cdef int open(self, bint is_wide) except -1:
        raise NotImplementedError()

    cdef int set_pings(self, double interval, double timeout, double minimum_interval) except -1:
        raise NotImplementedError()

    cdef Http2Stream open_stream(self):
        raise NotImplementedError()

    cdef int send_head(self, Http2Stream stream, HeaderTemplate template, list fields, bint ends_stream) except -1:
        raise NotImplementedError()

    cdef int begin_head(self) except -1:
        raise NotImplementedError()

    cdef int put_template(self, HeaderTemplate template) except -1:
        raise NotImplementedError()

    cdef int put_field(self, int token, bytes name, bytes value) except -1:
        raise NotImplementedError()

    cdef int end_head(self, Http2Stream stream, bint ends_stream) except -1:
        raise NotImplementedError()

    cdef int send_message(self, Http2Stream stream, bytes payload, int flags, bint ends_stream) except -1:
        raise NotImplementedError()

    cdef int send_data(self, Http2Stream stream, bytes payload, bint ends_stream) except -1:
        raise NotImplementedError()

    cdef bint is_full(self, Http2Stream stream) noexcept:
        return 0

    cdef int await_turn(self, Http2Stream stream) except -1:
        raise NotImplementedError()

    cdef int send_trailers(self, Http2Stream stream, HeaderTemplate template, list fields) except -1:
        raise NotImplementedError()

    cdef int end_stream(self, Http2Stream stream) except -1:
        raise NotImplementedError()

    cdef int reset(self, Http2Stream stream, uint32_t code) except -1:
        raise NotImplementedError()

    cdef int take(self, Http2Stream stream, Py_ssize_t size) except -1:
        raise NotImplementedError()

    cdef int grant(self, Http2Stream stream, int64_t size) except -1:
        raise NotImplementedError()

    cdef int widen(self) except -1:
        raise NotImplementedError()

    cdef int start_drain(self, str text) except -1:
        raise NotImplementedError()

    cdef int finish_drain(self) except -1:
        raise NotImplementedError()

    cdef int close_with(self, int code, str text) except -1:
        raise NotImplementedError()

    cdef int end(self, bint lingers) except -1:
        raise NotImplementedError()

    cdef int note_answered(self) noexcept:
        return 0

    cdef int note_idle_work(self) except -2:
        raise NotImplementedError()

    cdef Py_ssize_t unsent_bytes(self) except? -1:
        raise NotImplementedError()

    cdef Py_ssize_t held_bytes(self) noexcept:
        return 0

    cdef uint64_t check_http2(self, uint64_t now) except? 0:
        raise NotImplementedError()
