cimport cython

from fastrpc._core.native.control_frames cimport ControlFrames
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.native.hooks cimport FrameHandler
from fastrpc._core.wire.frame cimport Frame


@cython.final
cdef class FrameRouter(FrameHandler):
    cdef:
        # The parts that handle frames.
        FrameReader reader
        ControlFrames control

    cdef int open(self) except -1
    cdef int raise_window(self, Py_ssize_t window) except -1

    cdef int _take_preface(self, const char* data) except -1
    cdef int _write_raw(self, bytes data) except -1
    cdef int _data(self, Frame* frame, bytes payload) except -1
    cdef int _placed(self, Frame* frame) except -1
