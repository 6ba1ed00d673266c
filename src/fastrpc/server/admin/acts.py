"""The acts: changes of a running server by `POST /act/NAME` with a JSON body.

::

    operator ──► body: known keys ──► `was` is the current value ──► execution ──► before, after, processes

An act is a setting or an order. A setting has a value in each process of the server, or in its records in the registry.
An order is for the whole server. `was` is the value that the caller saw: if the current value differs, nothing is
changed. To add an act, write a class here and add a row to `ACTS`.

Each setting assigns constants. So it suffices to repeat the last act of each name and subject, in order, to restore all
values in a new process.
"""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from fastrpc.endpoint import GREATEST_WEIGHT
from fastrpc.errors import ConfigError
from fastrpc.server.override import CONFIGURED, Override

__all__ = [
    "ACTS",
    "LEVELS",
    "MOST_BODY",
    "NO_REGISTRY",
    "Act",
    "ActRefusedError",
    "Done",
    "Note",
    "OfRecords",
    "Order",
    "Parts",
    "Records",
    "Serves",
    "Setting",
    "Where",
    "check_was",
    "keep_audit",
    "level_of",
    "problem_of",
    "values_of",
]

#: The most bytes of a body.
MOST_BODY: Final = 4_000

#: The reason with which a server without a registry refuses acts on its records.
NO_REGISTRY: Final = "the server has no registry"

#: The most seconds that an answer waits for the registry.
REGISTRY_SECONDS: Final = 2.0

#: The names of log levels in acts.
LEVELS: Final = ("debug", "info", "warning", "error", "critical")

#: The logger of acts. No act can change its level.
AUDIT: Final = "fastrpc.audit"

Values: TypeAlias = dict[str, Any]

#: Logs the values before and after an act in the audit log, when the act has taken effect.
Note: TypeAlias = Callable[[Any, Any], None]


class ActRefusedError(Exception):
    """An act was refused or has failed.

    Args:
        status: the status of the answer.
        now: the current value, if the act expected another value.
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
    """The result of an executed act: the values, and the processes that executed it or did not answer."""

    before: Any
    after: Any
    processes: list[int]
    without: list[int]
    #: The reason why the registry does not have the records yet; "" if it has them.
    problem: str = ""

    def values(self) -> Values:
        """Return the values as part of an answer."""
        values = self._asdict()
        if not self.problem:
            del values["problem"]
        return values


class _Key(NamedTuple):
    """Which values a key of a body may have."""

    takes: Callable[[Any], bool]
    #: A description for error texts.
    kind: str


class Serves(Protocol):
    """The services of one process, whose health an act sets."""

    def serves(self, service: str) -> bool | None:
        """Return whether a service is set to serve ("" for the whole server); None while the process drains.

        Raises:
            ConfigError: the server has no such service.
        """

    def set_serving(self, serving: bool, service: str) -> None:
        """Set whether a service serves ("" for the whole server)."""


class Records(Protocol):
    """The records of the server in its registry."""

    @property
    def is_leaving(self) -> bool:
        """True while the server drains, when its records must not change."""

    @property
    def override(self) -> Override:
        """The values of the records that operators have changed."""

    def set_override(self, override: Override) -> None:
        """Apply another override to all records, and send the changed records in the background."""

    def configured_weights(self) -> list[int]:
        """Return the different configured weights of the records, sorted."""

    async def problem(self, seconds: float) -> str:
        """Return why the registry does not have the records yet, or ""; wait for it at most `seconds`."""


class Where(Enum):
    """The processes in which a setting has its value."""

    #: The processes that serve calls.
    SERVICES = "services"
    #: The process that keeps the records in the registry.
    RECORDS = "records"
    ALL = "all"


class Parts(NamedTuple):
    """The objects of one process that settings change."""

    #: None if the process serves no calls.
    services: Serves | None = None
    #: None if the process keeps no records.
    records: Records | None = None

    def has(self, where: Where) -> bool:
        """Return whether settings with this `where` have a value in this process."""
        return where is Where.ALL or getattr(self, where.value) is not None


class Setting(Protocol):
    """An act that sets a value in each process that has it. The value lasts until the server ends."""

    @property
    def keys(self) -> Mapping[str, _Key]:
        """The keys of a body."""

    @property
    def where(self) -> Where:
        """The processes that have the value."""

    def wanted(self, values: Values) -> tuple[str, Any]:
        """Return subject and value in a body. A later act with the same name and subject replaces this value."""

    def look(self, parts: Parts, subject: str) -> Any:
        """Return the value in this process; None while the process drains.

        Raises:
            ActRefusedError: the subject does not exist, or the act is not possible now.
        """

    def set(self, parts: Parts, subject: str, value: Any) -> None:
        """Set the value in this process."""


class Order(NamedTuple):
    """An act on the whole server, executed by its process or by the supervisor of its workers."""

    keys: Mapping[str, _Key]
    #: The method of `Acting` that executes the order.
    method: str


Act: TypeAlias = Setting | Order


def _is_text(value: Any) -> bool:
    """Return whether a value is valid text: JSON texts may contain unpaired surrogates."""
    return isinstance(value, str) and not any("\ud800" <= one <= "\udfff" for one in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_server(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"server"} and _is_text(value["server"])


_TEXT: Final = _Key(_is_text, "a text")
_FLAG: Final = _Key(lambda value: isinstance(value, bool), "true or false")
_LEVEL: Final = _Key(lambda value: _is_text(value) and value in LEVELS, f"one of {', '.join(LEVELS)}")
_WEIGHT: Final = _Key(
    lambda value: _is_number(value) and 0 <= value <= GREATEST_WEIGHT,
    f"a whole number from 0 to {GREATEST_WEIGHT}",
)
_WEIGHTS: Final = _Key(
    lambda value: _is_number(value) or (isinstance(value, list) and all(map(_is_number, value))),
    "a whole number, or a list of them",
)
_SERVER: Final = _Key(_is_server, 'an object with the text "server"')


class _Serving:
    """True if a service, or the whole server, reports that it serves."""

    keys = MappingProxyType({"service": _TEXT, "serving": _FLAG, "was": _FLAG})
    where = Where.SERVICES

    def wanted(self, values: Values) -> tuple[str, bool]:
        return values["service"], values["serving"]

    def look(self, parts: Parts, subject: str) -> bool | None:
        assert parts.services is not None
        try:
            return parts.services.serves(subject)
        except ConfigError as error:
            raise ActRefusedError(404, error.message) from None

    def set(self, parts: Parts, subject: str, value: bool) -> None:
        assert parts.services is not None
        parts.services.set_serving(value, subject)


class _LogLevel:
    """The lowest level that a logger accepts. "" is the root logger."""

    keys = MappingProxyType({"logger": _TEXT, "level": _LEVEL, "was": _TEXT})
    where = Where.ALL

    def wanted(self, values: Values) -> tuple[str, str]:
        return values["logger"], values["level"]

    def look(self, parts: Parts, subject: str) -> str:
        if f"{subject}.".startswith(f"{AUDIT}."):
            raise ActRefusedError(403, "acts cannot change the level of the audit log")
        # Refuse unknown names: `getLogger` would create a logger, which would exist until the process ends.
        if subject and subject not in logging.Logger.manager.loggerDict:
            raise ActRefusedError(404, "there is no logger of this name")
        return level_of(subject)

    def set(self, parts: Parts, subject: str, value: str) -> None:
        keep_audit()
        logging.getLogger(subject).setLevel(value.upper())


class OfRecords(Setting, ABC):
    """A setting of the records in the registry. Each value results in another override."""

    where = Where.RECORDS

    @abstractmethod
    def changed(self, override: Override, value: Any) -> Override:
        """Return the override with a value of this setting."""

    def set(self, parts: Parts, subject: str, value: Any) -> None:
        """Set the value in this process."""
        records = _records(parts)
        records.set_override(self.changed(records.override, value))


class _Out(OfRecords):
    """True if the server is taken out: its records have weight 0 and the label `state=inactive`.

    When the server is put in again, every record gets its configured values, including the weight.
    """

    keys = MappingProxyType({"was": _FLAG})

    def __init__(self, *, is_out: bool) -> None:
        self._is_out = is_out

    def wanted(self, values: Values) -> tuple[str, bool]:
        return "", self._is_out

    def look(self, parts: Parts, subject: str) -> bool | None:
        records = _records(parts)
        return None if records.is_leaving else records.override.is_out

    def changed(self, override: Override, value: bool) -> Override:
        return replace(override, is_out=True) if value else CONFIGURED


class _Weight(OfRecords):
    """The weight of every record. Initially it is the configured weight."""

    keys = MappingProxyType({"weight": _WEIGHT, "was": _WEIGHTS})

    def wanted(self, values: Values) -> tuple[str, int]:
        return "", values["weight"]

    def look(self, parts: Parts, subject: str) -> int | list[int] | None:
        records = _records(parts)
        if records.is_leaving:
            return None
        if records.override.is_out:
            raise ActRefusedError(409, "the server is out: put it in first")
        if records.override.weight is not None:
            return records.override.weight
        weights = records.configured_weights()
        return weights[0] if len(weights) == 1 else weights

    def changed(self, override: Override, value: int) -> Override:
        return replace(override, weight=value)


def _records(parts: Parts) -> Records:
    if parts.records is None:
        raise ActRefusedError(409, NO_REGISTRY)
    return parts.records


#: The acts by name.
ACTS: Final[Mapping[str, Act]] = {
    "serving": _Serving(),
    "log_level": _LogLevel(),
    "out": _Out(is_out=True),
    "in": _Out(is_out=False),
    "weight": _Weight(),
    "drain": Order({"was": _SERVER}, "drain"),
    "roll": Order({"was": _SERVER}, "roll"),
}


def values_of(act: Act, body: bytes) -> Values:
    """Parse a body; return its values.

    Raises:
        ActRefusedError: the body is not an object, or the act does not allow its keys or values.
    """
    try:
        values = json.loads(body.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError):
        # The error text is omitted, because it may quote the body.
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

    A process that already has the wanted value is accepted, so that an act can be repeated after only some processes
    applied it.

    Args:
        found: the current values by process; at least one.

    Raises:
        ActRefusedError: the value has changed.
    """
    values = list(found.values())
    if was in values and all(value in (was, wanted) for value in values):
        return
    is_one = all(value == values[0] for value in values)
    now = values[0] if is_one else {str(process): value for process, value in found.items()}
    raise ActRefusedError(409, "the value has changed meanwhile, nothing was changed", now=now)


def keep_audit() -> None:
    """Set the level of the audit logger, unless the program has, so that a parent's level cannot silence it."""
    audit = logging.getLogger(AUDIT)
    if audit.level == logging.NOTSET:
        audit.setLevel(logging.INFO)


def level_of(name: str) -> str:
    """Return the lowest level that a logger accepts, as a name in `LEVELS`; "" is the root logger."""
    return logging.getLevelName(logging.getLogger(name).getEffectiveLevel()).lower()


async def problem_of(setting: Setting, parts: Parts) -> str:
    """Return why a setting has not fully taken effect, or "". For records, wait for the registry."""
    if setting.where is not Where.RECORDS or parts.records is None:
        return ""
    return await parts.records.problem(REGISTRY_SECONDS)
