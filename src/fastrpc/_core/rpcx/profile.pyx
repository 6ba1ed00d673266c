"""The differences between rpcx and the protocols that derive from it.

Phobos has the layout, the flags and the numbers of rpcx. It has its own magic and error key, keeps a connection whose token
it refused, and its peers do not inflate answers.
"""

cimport cython


@cython.final
cdef class Profile:
    """One of the protocols with these frames."""

    def __init__(self, str name not None, int magic, *, bint closes_on_refusal, bint compresses_answers):
        self.name = name
        self.magic = magic
        self.error_key = f"__{name}_error__".encode()
        self.closes_on_refusal = closes_on_refusal
        self.compresses_answers = compresses_answers


RPCX = Profile("rpcx", 0x08, closes_on_refusal=True, compresses_answers=True)
PHOBOS = Profile("phobos", 0x42, closes_on_refusal=False, compresses_answers=False)
