"""The pre-scan of protobuf payloads, which can only be parsed with the descriptor of their message."""

from libc.stdint cimport int32_t, uint8_t, uint32_t


# A level of a payload that is being read.
cdef struct Level:
    # The end of the level. For a group it is the end of the level around it, as only an end tag ends the group.
    const uint8_t* end
    # The message at this level, or SCALAR, whose fields are skipped.
    int32_t message
    # The field number whose end tag closes a group; 0 for a level with a length.
    uint32_t group


cdef class MessageLayout:
    cdef:
        # The fields of message m that contain messages or packed numbers are `first[m]` <= f < `first[m + 1]`, in
        # rising order of their `tags`. `messages[f]` is the message in field f, or the packing of its numbers. The
        # arrays are owned and constant.
        Py_ssize_t* first
        uint32_t* tags
        int32_t* messages

    # Like `prescan.prescan`, which has the results. `data` is borrowed for the call.
    cdef int prescan(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) noexcept nogil
    cdef int32_t held_message(self, int32_t message, uint32_t tag) noexcept nogil
    cdef int take_field(self, Level* level, const uint8_t** place, uint32_t tag, Py_ssize_t* items) noexcept nogil
    cdef int scan(
        self, Level level, const uint8_t* place, int max_depth, Py_ssize_t max_items, Py_ssize_t* containers
    ) noexcept nogil
