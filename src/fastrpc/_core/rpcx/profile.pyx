"""The differences between rpcx and the protocols that derive from it.

Phobos has the layout, the flags and the numbers of rpcx. It has its own magic, error key and texts, states no deadline,
keeps a connection whose token it refused, and asks heartbeats for the token, too. Its server neither inflates requests nor
compresses. Its processes set some bits without care: those that served frames of rpcx send their own with that magic, an
error may lack its text, and the flag of gzip stands over plain answers.
"""

cimport cython


@cython.final
cdef class Profile:
    """One of the protocols with these frames."""

    def __init__(self, str name not None, int magic, *, bint closes_on_refusal, bint compresses, bint states_deadlines,
                 bint proves_heartbeats, bint is_loose):
        self.name = name
        self.magic = magic
        self.checked_magic = -1 if is_loose else magic
        self.error_key = f"__{name}_error__".encode()
        self.unknown_names = (f"{name}: can't find service ".encode(), f"{name}: can't find method ".encode())
        self.closes_on_refusal = closes_on_refusal
        self.compresses = compresses
        self.states_deadlines = states_deadlines
        self.proves_heartbeats = proves_heartbeats
        self.is_loose = is_loose


RPCX = Profile(
    "rpcx", 0x08, closes_on_refusal=True, compresses=True, states_deadlines=True, proves_heartbeats=False, is_loose=False,
)
PHOBOS = Profile(
    "phobos", 0x42, closes_on_refusal=False, compresses=False, states_deadlines=False, proves_heartbeats=True, is_loose=True,
)
