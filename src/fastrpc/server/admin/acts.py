"""The acts: changes of a running server by `POST /act/NAME`, with a body of JSON.

::

    operator ──► body: known keys ──► `was` is still so ──► carried out ──► before, after, processes

A setting has a value in each process of the server. An order is for the whole server. `was` is the value that the
caller saw: if it is another one by now, nothing is changed. A further act is a class here, with a row in `ACTS`.
"""

import json
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from fastrpc.errors import ConfigError

__all__ = [
    "ACTS",
    "MOST_BODY",
    "Act",
    "ActRefusedError",
    "Done",
    "Order",
    "Serves",
    "Setting",
    "check_was",
    "values_of",
]

#: Bytes of a body.
MOST_BODY: Final = 4_000

#: The levels of loggers, as acts name them.
LEVELS: Final = ("debug", "info", "warning", "error", "critical")

Values: TypeAlias = dict[str, Any]


class ActRefusedError(Exception):
    """An act that is not carried out.

    Args:
        status: of the answer.
        now: the value at this time, where another one was expected.
    """

    def __init__(self, status: int, text: str, *, now: Any = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.now = now

    def values(self) -> Values:
        """Return the values of the answer."""
        return {"error": self.text} if self.now is None else {"error": self.text, "now": self.now}


class Done(NamedTuple):
    """An act that was carried out: the values, and the processes that have carried it out, or did not answer."""

    before: Any
    after: Any
    processes: list[int]
    without: list[int]

    def values(self) -> Values:
        """Return the values as part of an answer."""
        return {
            "before": self.before,
            "after": self.after,
            "processes": self.processes,
            "without": self.without,
        }


class _Key(NamedTuple):
    """The values that a key of a body may have."""

    takes: Callable[[Any], bool]
    #: In words.
    kind: str


class Serves(Protocol):
    """A process that serves, for the settings of its services."""

    def serves(self, service: str) -> bool | None:
        """Return whether a service is set to serve, the whole server for ""; None while the process drains.

        Raises:
            ConfigError: it has no such service.
        """

    def set_serving(self, serving: bool, service: str) -> None:
        """Set whether a service serves."""


class Setting(Protocol):
    """An act that sets a value in each process that has it. It lasts until the server ends."""

    @property
    def keys(self) -> Mapping[str, _Key]:
        """The keys of a body."""

    @property
    def subject(self) -> str:
        """The key of its subject: the next act on it takes the place of this one."""

    @property
    def wanted(self) -> str:
        """The key of the value that it sets."""

    @property
    def is_everywhere(self) -> bool:
        """Whether processes that serve no calls have the value as well."""

    def look(self, served: Serves | None, subject: str) -> Any:
        """Return the value in this process; None: it has none.

        Args:
            served: None in a process that serves no calls.

        Raises:
            ActRefusedError: there is no such subject here.
        """

    def set(self, served: Serves | None, subject: str, value: Any) -> None:
        """Set the value in this process, which has one."""


class Order(NamedTuple):
    """An act of the whole server, which is told by its process, or by the supervisor of its workers."""

    keys: Mapping[str, _Key]
    #: The name of the method that carries it out: of `Acting`.
    method: str


Act: TypeAlias = Setting | Order


def _is_text(value: Any) -> bool:
    """Return whether it is a text that can be sent on: JSON may hold half of a character."""
    return isinstance(value, str) and not any("\ud800" <= one <= "\udfff" for one in value)


def _is_server(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"server"} and _is_text(value["server"])


_TEXT: Final = _Key(_is_text, "a text")
_FLAG: Final = _Key(lambda value: isinstance(value, bool), "true or false")
_LEVEL: Final = _Key(lambda value: _is_text(value) and value in LEVELS, f"one of {', '.join(LEVELS)}")
_SERVER: Final = _Key(_is_server, 'an object with the text "server"')


class _Serving:
    """Whether a service, or the whole server, reports that it serves."""

    keys = MappingProxyType({"service": _TEXT, "serving": _FLAG, "was": _FLAG})
    subject = "service"
    wanted = "serving"
    is_everywhere = False

    def look(self, served: Serves | None, subject: str) -> bool | None:
        assert served is not None
        try:
            return served.serves(subject)
        except ConfigError as error:
            raise ActRefusedError(404, error.message) from None

    def set(self, served: Serves | None, subject: str, value: bool) -> None:
        assert served is not None
        served.set_serving(value, subject)


class _LogLevel:
    """The level from which on a logger takes records. "" is the root logger."""

    keys = MappingProxyType({"logger": _TEXT, "level": _LEVEL, "was": _TEXT})
    subject = "logger"
    wanted = "level"
    is_everywhere = True

    def look(self, served: Serves | None, subject: str) -> str:
        # A logger that a name creates stays until the process ends.
        if subject and subject not in logging.Logger.manager.loggerDict:
            raise ActRefusedError(404, "there is no logger of this name")
        level = logging.getLogger(subject).getEffectiveLevel()
        return logging.getLevelName(level).lower()

    def set(self, served: Serves | None, subject: str, value: str) -> None:
        logging.getLogger(subject).setLevel(value.upper())


#: The acts by their names.
ACTS: Final[Mapping[str, Act]] = {
    "serving": _Serving(),
    "log_level": _LogLevel(),
    "drain": Order({"was": _SERVER}, "drain"),
    "roll": Order({"was": _SERVER}, "roll"),
}


def values_of(act: Act, body: bytes) -> Values:
    """Return the values in a body.

    Raises:
        ActRefusedError: it is no object, or its keys or their values are not those of the act.
    """
    try:
        values = json.loads(body.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError):
        # Without the text of the error: it may quote the body.
        raise ActRefusedError(400, "the body is not JSON in which each key is given once") from None
    if not isinstance(values, dict):
        raise ActRefusedError(400, "the body must be an object")
    wrong = [f"unknown: {', '.join(names)}"] if (names := sorted(values.keys() - act.keys)) else []
    wrong += [f"missing: {', '.join(names)}"] if (names := sorted(act.keys - values.keys())) else []
    wrong += [
        f"{name} must be {key.kind}"
        for name, key in act.keys.items()
        if name in values and not key.takes(values[name])
    ]
    if wrong:
        raise ActRefusedError(400, "; ".join(wrong))
    return values


def _object(pairs: list[tuple[str, Any]]) -> Values:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is given twice")
    return values


def check_was(was: Any, wanted: Any, found: Mapping[int, Any]) -> None:
    """Refuse an act if the caller saw another value.

    A process that has the wanted value already agrees as well: an act that came half-way is repaired by the next one.

    Args:
        found: the values now, by processes; at least one.

    Raises:
        ActRefusedError: it is another value by now.
    """
    values = list(found.values())
    if was in values and all(value in (was, wanted) for value in values):
        return
    is_one = all(value == values[0] for value in values)
    now = values[0] if is_one else {str(process): value for process, value in found.items()}
    raise ActRefusedError(409, "the value is another one now, nothing was changed", now=now)
