"""The parameter names at the positions of a call, as a u64 in the head of its REQUEST.

PROTOCOL.md, section 4, "Names of positions". The caller sends the names of its class; a callee whose parameters have
other names there refuses the call instead of swapping its arguments.
"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t

from fastrpc.errors import ConfigError

# http://www.isthe.com/chongo/tech/comp/fnv/, 64 bits.
cdef uint64_t FNV_OFFSET = 0xCBF29CE484222325
cdef uint64_t FNV_PRIME = 0x100000001B3
cdef enum:
    SEPARATOR = 0x0A
    # Mixtures of old and present names; the four old names of a method make 16 at most.
    MOST_MIXTURES = 64


@cython.final
cdef class ParameterNames:
    def __cinit__(self, tuple names not None, spellings=()):
        cdef Py_ssize_t k
        cdef uint64_t hashed = FNV_OFFSET
        self.names = names
        self._count = len(names)
        self._numbers = <uint64_t*>PyMem_Malloc((self._count + 1) * sizeof(uint64_t))
        if self._numbers is NULL:
            raise MemoryError()
        self._numbers[0] = 0
        for k in range(self._count):
            hashed = _extended(hashed, names[k])
            self._numbers[k + 1] = _number(hashed, k + 1)
        self._others = frozenset().union(*map(_numbers_of, spellings))

    def __dealloc__(self):
        PyMem_Free(self._numbers)

    cdef bint _accepts_other(self, Py_ssize_t count, uint64_t told) except -1:
        return count == 0 or told in self._others

    def number(self, Py_ssize_t count):
        """Return the number of the first `count` names for a REQUEST; 0 if it cannot be sent."""
        if not 0 <= count <= self._count:
            raise ValueError(f"{count} of {self._count} names")
        return self._numbers[count]

    def takes(self, uint64_t told):
        """Return whether a call with this number may start."""
        return self.accepts(told)


cdef uint64_t _extended(uint64_t hashed, str name) except? 0:
    """Return the FNV-1a hash over one more name and its terminator."""
    cdef bytes raw = name.encode()
    cdef uint8_t byte
    for byte in raw:
        hashed = (hashed ^ byte) * FNV_PRIME
    return (hashed ^ SEPARATOR) * FNV_PRIME


cdef inline uint64_t _number(uint64_t hashed, Py_ssize_t count) noexcept:
    return (hashed & ~<uint64_t>0xFF) | <uint64_t>count if count <= MOST_TOLD else 0


def _numbers_of(spelling):
    """Return the numbers of all prefixes of a spelling, which has the accepted names of each position."""
    cdef Py_ssize_t count = 0
    cdef set hashes = {FNV_OFFSET}, numbers = set()
    for names in spelling:
        count += 1
        if len(hashes) * len(names) > MOST_MIXTURES:
            raise ConfigError(
                f"the names of the first {count} parameters, old ones included, make {len(hashes) * len(names)} mixtures, "
                f"more than {MOST_MIXTURES}",
                hint="rename fewer parameters",
            )
        hashes = {_extended(hashed, name) for hashed in hashes for name in names}
        if count <= MOST_TOLD:
            numbers.update({_number(hashed, count) for hashed in hashes})
    return numbers


cdef str refusal_text(str method, tuple names):
    return f"{method}: other parameter names: the server has ({', '.join(names)})"


cdef str answer_to_refusal(str method, str text, tuple names):
    # PROTOCOL.md specifies the words that identify it.
    return f", this client ({', '.join(names)})" if text.startswith(f"{method}: other parameter names: ") else None
