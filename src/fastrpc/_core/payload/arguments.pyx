"""The arguments of one method: given by position and by name, in the order of its parameters, bound for its handler.

::

    caller    args, kwargs ─► fit ─► a value for each parameter ─► payload
    handler   payload ─► a value for each parameter ─► bind ─► tuple or BoundArguments
"""

cimport cython

from fastrpc._core.payload.parameter_names cimport ParameterNames

from fastrpc.errors import CallError
from fastrpc.status import Status

# Stands for a missing argument.
MISSING = object()

cdef object _MISSING = MISSING


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


def described_error(error, str root not None, tuple names not None):
    """Turn "Expected `int`, got `str` - at `$[1].x`" into "b.x: expected `int`, got `str`".

    `root` is what `$` stands for; if it is empty, `$[n]` is the parameter names[n].
    """
    cdef str text, place
    if isinstance(error, RecursionError):
        text, place = "nested too deep", ""
    else:
        text, place = _without_places(str(error) or type(error).__name__)
    if text.partition(" ")[0].istitle():
        text = text[0].lower() + text[1:]
    if root:
        return f"{place.replace('$', root, 1) or root}: {text}"
    before, opened, rest = place.partition("$[")
    number, closed, rest = rest.partition("]")
    if opened and closed and number.isdigit() and int(number) < len(names):
        return f"{before}{names[int(number)]}{rest}: {text}"
    return f"the arguments: {text}"


cdef tuple _without_places(str text):
    """Split "no - at `$.b` - at `$[0].a`" into "no" and "$[0].a.b": a decoder inside another names its place first."""
    cdef str outer, place = ""
    while text.endswith("`") and " - at `" in text:
        text, _, outer = text.rpartition(" - at `")
        outer = outer.replace("`", "")
        place = outer.replace("$", place, 1) if place else outer
    return text, place
