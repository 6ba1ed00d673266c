"""The answer to a failed call, before a protocol encodes it."""

cimport cython

from fastrpc._core.base.sound_text cimport sound_text


@cython.final
cdef class Failure:
    """The answer to a failed call."""

    def __init__(
        self, int status, text not None, bytes details not None=b"", *, pushback_ms=0, has_run=True, goes_on=False
    ):
        self.status = status
        self.text = sound_text(text)
        self.details = details
        self.pushback_ms = pushback_ms
        self.has_run = has_run
        self.goes_on = goes_on
