"""The arguments of one method: given by position and by name, in the order of its parameters, bound for its handler.

::

    caller    args, kwargs ─► fit ─► a value for each parameter ─► payload
    handler   payload ─► a value for each parameter ─► bind ─► tuple or BoundArguments

`ParameterNames`: the head of a REQUEST has the parameter names at the positions of the call, as a u64 (PROTOCOL.md,
section 4, "Names of positions"). The caller sends the names in its class. A callee whose parameters at these positions
have other names refuses the call instead of swapping its arguments.
"""

import re

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t

from fastrpc.errors import CallError, ConfigError
from fastrpc.status import Status

# FNV-1a with 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/
cdef uint64_t FNV_OFFSET = 0xCBF29CE484222325
cdef uint64_t FNV_PRIME = 0x100000001B3
cdef enum:
    SEPARATOR = 0x0A
    # The most combinations of old and present names of arguments. A method has at most four old names, which make 16.
    MOST_MIXTURES = 64

# The value of a missing argument.
MISSING = object()

cdef object _MISSING = MISSING

# The texts in which msgspec quotes the value of an enum, of a Literal or of a tag.
cdef object _QUOTING = re.compile(r"""(Invalid (?:enum )?value) (?:'.*'|".*"|-?[0-9]+)""", re.DOTALL)


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
        """Return the number for the first `count` names in a REQUEST; 0 if there are too many names."""
        if not 0 <= count <= self._count:
            raise ValueError(f"there are {self._count} names, not {count}")
        return self._numbers[count]

    def takes(self, uint64_t told):
        """Return whether a call with this names number may start."""
        return self.accepts(told)


cdef uint64_t _extended(uint64_t hashed, str name) except? 0:
    """Return the FNV-1a hash, extended by one more name and its terminator."""
    cdef bytes raw = name.encode()
    cdef uint8_t byte
    for byte in raw:
        hashed = (hashed ^ byte) * FNV_PRIME
    return (hashed ^ SEPARATOR) * FNV_PRIME


cdef inline uint64_t _number(uint64_t hashed, Py_ssize_t count) noexcept:
    return (hashed & ~<uint64_t>0xFF) | <uint64_t>count if count <= MOST_TOLD else 0


def _numbers_of(spelling):
    """Return the numbers for all prefixes of a spelling, which lists the accepted names for each position."""
    cdef Py_ssize_t count = 0
    cdef set hashes = {FNV_OFFSET}, numbers = set()
    for names in spelling:
        count += 1
        if len(hashes) * len(names) > MOST_MIXTURES:
            raise ConfigError(
                f"the names of the first {count} parameters, old ones included, "
                f"have {len(hashes) * len(names)} combinations, at most {MOST_MIXTURES} are possible",
                hint="rename fewer parameters",
            )
        hashes = {_extended(hashed, name) for hashed in hashes for name in names}
        if count <= MOST_TOLD:
            numbers.update({_number(hashed, count) for hashed in hashes})
    return numbers


cdef str refusal_text(str method, tuple names):
    return f"{method}: other parameter names: the server has ({', '.join(names)})"


cdef str answer_to_refusal(str method, str text, tuple names):
    # PROTOCOL.md specifies these words, by which a caller recognizes the refusal.
    return f", this client ({', '.join(names)})" if text.startswith(f"{method}: other parameter names: ") else None


@cython.final
cdef class BoundArguments:
    def __init__(self, tuple args not None, dict kwargs not None):
        self.args = args
        self.kwargs = kwargs

    def __eq__(self, other):
        if not isinstance(other, BoundArguments):
            return NotImplemented
        return self.args == (<BoundArguments> other).args and self.kwargs == (<BoundArguments> other).kwargs

    __hash__ = None

    def __repr__(self):
        return f"BoundArguments({self.args!r}, {self.kwargs!r})"


@cython.final
cdef class ArgumentShape:
    def __init__(
        self,
        tuple names not None,
        tuple required not None,
        refuse not None,
        *,
        Py_ssize_t positional,
        Py_ssize_t positional_only=0,
        dict renamed=None,
    ):
        cdef Py_ssize_t at
        if len(required) != len(names) or not 0 <= positional_only <= positional <= len(names):
            raise ValueError("the parts of an argument shape contradict each other")
        self.names = names
        self.told = ParameterNames(names)
        self.renamed = {} if renamed is None else renamed
        self.required = required
        self.refuse = refuse
        self.positional = positional
        self.positional_only = positional_only
        self.shortest = 0
        for at in range(len(names)):
            if required[at]:
                self.shortest = at + 1

    def arity_text(self, Py_ssize_t got):
        """Describe the number of arguments that the method takes, and the number received."""
        return f"{self.takes_text()}, got {got}"

    cdef str takes_text(self):
        cdef Py_ssize_t most = len(self.names)
        cdef Py_ssize_t fewest = sum(self.required)
        takes = f"takes {most}" if fewest == most else f"takes {fewest} to {most}"
        text = f"{takes} argument{'' if most == 1 else 's'}"
        return f"{text} ({', '.join(self.names)})" if most else text

    cdef list fit(self, tuple args, dict kwargs):
        cdef Py_ssize_t at, count = len(args), used = 0
        cdef list values
        if count > self.positional:
            return None
        values = [_MISSING] * len(self.names)
        values[:count] = args
        for at in range(len(values)):
            if at >= self.positional_only and self.names[at] in kwargs:
                if at < count:
                    return None
                values[at] = kwargs[self.names[at]]
                used += 1
            elif self.required[at] and values[at] is _MISSING:
                return None
        return values if used == len(kwargs) else None

    cdef object bind(self, list values):
        cdef Py_ssize_t at, row = 0
        cdef list missing = []
        cdef dict named = {}
        for at in range(len(values)):
            if values[at] is _MISSING:
                if self.required[at]:
                    missing.append(self.names[at])
            elif at == row and at < self.positional:
                row += 1
            elif at < self.positional_only:
                raise refusal(f"{self.names[row]}: must be given where {self.names[at]} is given")
            else:
                named[self.names[at]] = values[at]
        if missing:
            raise refusal(f"{', '.join(missing)}: missing", hint=self.takes_text())
        if named:
            return BoundArguments(tuple(values[:row]), named)
        return tuple(values[:row])

    cdef Py_ssize_t position_of(self, object key, bint takes_digits) except -2:
        cdef Py_ssize_t at
        if isinstance(key, str):
            for at in range(len(self.names)):
                if self.names[at] == key:
                    return at
            at = self.renamed.get(key, -1)
            if at >= 0:
                return at
            # No parameter's name begins with a digit.
            if not takes_digits or len(key) > 4 or not (key.isascii() and key.isdigit()):
                return -1
            key = int(key)
        if type(key) is int and 0 <= key < len(self.names):
            return key
        return -1


cdef object split_untyped(dict items):
    cdef dict positions = {key: value for key, value in items.items() if type(key) is int}
    cdef dict named = {key: value for key, value in items.items() if type(key) is str}
    if len(positions) + len(named) != len(items) or set(positions) != set(range(len(positions))):
        raise refusal("the keys of the arguments are neither names nor positions from 0")
    return BoundArguments(tuple([positions[at] for at in range(len(positions))]), named)


cdef object refusal(str message, str hint=None, object status=None):
    return CallError(status or Status.INVALID_ARGUMENT, message, processed="no", hint=hint)


def described_error(error, str root not None, tuple names not None, *, bint quotes=False):
    """Turn "Expected `int`, got `str` - at `$[1].x`" into "b.x: expected `int`, got `str`".

    `root` is what `$` stands for; if it is empty, `$[n]` is the parameter names[n]. A value that the decoder quotes is
    omitted unless `quotes`: a caller's value may be secret. Texts of the program's own types are unchanged.
    """
    cdef str text, place
    if isinstance(error, RecursionError):
        text, place = "nested too deep", ""
    else:
        text, place = _without_places(str(error) or type(error).__name__)
        if not quotes and is_of_decoder(error):
            text = _without_value(text)
    if text.partition(" ")[0].istitle():
        text = text[0].lower() + text[1:]
    if root:
        return f"{place.replace('$', root, 1) or root}: {text}"
    before, opened, rest = place.partition("$[")
    number, closed, rest = rest.partition("]")
    if opened and closed and number.isdigit() and int(number) < len(names):
        return f"{before}{names[int(number)]}{rest}: {text}"
    return f"the arguments: {text}"


def is_of_decoder(error):
    """Return whether the text of an error is msgspec's own, and not the text of an exception of the program's type."""
    # Imported here: a client that makes no call does not load msgspec.
    from msgspec import MsgspecError

    while error.__cause__ is not None:
        error = error.__cause__
    return isinstance(error, MsgspecError)


cdef str _without_value(str text):
    """Leave out the value at the end of a msgspec text."""
    found = _QUOTING.fullmatch(text)
    return text if found is None else found[1]


cdef tuple _without_places(str text):
    """Split "no - at `$.b` - at `$[0].a`" into "no" and "$[0].a.b": the place inside the inner decoder comes first."""
    cdef str outer, place = ""
    while text.endswith("`") and " - at `" in text:
        text, _, outer = text.rpartition(" - at `")
        outer = outer.replace("`", "")
        place = outer.replace("$", place, 1) if place else outer
    return text, place
