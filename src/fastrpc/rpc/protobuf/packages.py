"""A package of a schema: services, and the messages and enums that they use, each with its own name.

Two classes of one name are told apart as in OpenAPI: `Item`, `Item2`. Names are given in the order in which services
and methods use them, so that a schema is the same each time.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.marshals import codec_for
from fastrpc.rpc.protobuf.derivation import Derivation
from fastrpc.rpc.protobuf.messages import ProtoEnum, ProtoField, ProtoMessage
from fastrpc.rpc.protobuf.methods import MethodMessages, method_messages
from fastrpc.rpc.protobuf.names import snake

__all__ = ["EnumNames", "ProtoMethod", "ProtoPackage", "ProtoService", "enum_values", "packages_of"]

_NOT_IN_NAMES: Final = re.compile(r"\W+", re.ASCII)


class ProtoMethod(NamedTuple):
    """A method of a service; without messages its payloads are bytes of the program's own."""

    name: str
    definition: MethodDefinition
    messages: MethodMessages | None


class ProtoService(NamedTuple):
    """A service: its name after the package's, and its methods."""

    name: str
    definition: ServiceDefinition
    methods: tuple[ProtoMethod, ...]


class ProtoPackage:
    """The schema of the services of one package.

    Args:
        name: the part of their names before the last dot; empty without one.

    Raises:
        FieldError: a `Field` is where it cannot be.
    """

    def __init__(self, name: str, services: Iterable[ServiceDefinition]) -> None:
        self.name = name
        #: The methods that are left out, as a type has no form in protobuf: each error names method, type and way out.
        self.failures: list[ConfigError] = []
        derivation = Derivation()
        self.services = [_service(one, derivation, self.failures) for one in services]
        self._taken = {service.name for service in self.services}
        #: The messages and enums, in the order in which they are met.
        self.messages: list[ProtoMessage] = []
        self.enums: list[ProtoEnum] = []
        self._names: dict[ProtoMessage | ProtoEnum, str] = {}
        for found in _reached(_roots(self.services)):
            kept: list[Any] = self.messages if isinstance(found, ProtoMessage) else self.enums
            kept.append(found)
            self._names[found] = self._free_name(found)

    def name_of(self, found: ProtoMessage | ProtoEnum) -> str:
        """Return the name of a message or an enum: within the package, or the full one of a message from elsewhere."""
        known = found.known_as if isinstance(found, ProtoMessage) else None
        return known or self._names[found]

    def full_name(self, found: ProtoMessage | ProtoEnum) -> str:
        """Return the name with its package before it."""
        name = self.name_of(found)
        return name if found not in self._names or not self.name else f"{self.name}.{name}"

    def messages_of(self, definition: MethodDefinition) -> MethodMessages:
        """Return the messages of a method; ConfigError if a type of it has no form in protobuf."""
        for service in self.services:
            for method in service.methods:
                if method.definition.full_name == definition.full_name and method.messages is not None:
                    return method.messages
        return method_messages(definition, Derivation())

    def imports(self) -> list[str]:
        """Return the files that messages from elsewhere are in."""
        used = {message.file for message in _known_messages(self.messages, _roots(self.services))}
        return sorted(file for file in used if file is not None)

    def generated_messages(self) -> list[Any]:
        """Return the message classes of the protobuf package that its messages and methods use."""
        found = _known_messages(self.messages, _roots(self.services))
        return list(dict.fromkeys(message.owner for message in found if message.owner is not None))

    def part(self, may_call: Callable[[MethodDefinition], bool]) -> "ProtoPackage":
        """Return the package with the methods that a caller may call, under the same names."""
        found = object.__new__(ProtoPackage)
        found.name, found._names, found._taken, found.failures = self.name, self._names, self._taken, []
        kept = (
            service._replace(methods=tuple(one for one in service.methods if may_call(one.definition)))
            for service in self.services
        )
        found.services = [service for service in kept if service.methods]
        used = set(_reached(_roots(found.services)))
        found.messages = [message for message in self.messages if message in used]
        found.enums = [enum for enum in self.enums if enum in used]
        return found

    def _free_name(self, found: ProtoMessage | ProtoEnum) -> str:
        wanted = found.name if isinstance(found, ProtoMessage) else found.cls.__name__
        base = _NOT_IN_NAMES.sub("_", wanted).lstrip("0123456789_") or "Type"
        name, number = base, 2
        while name in self._taken:
            name, number = f"{base}{number}", number + 1
        self._taken.add(name)
        return name


def packages_of(services: Iterable[ServiceDefinition]) -> list[ProtoPackage]:
    """Return the packages of services, in the order of their first services."""
    found: dict[str, list[ServiceDefinition]] = {}
    for service in services:
        found.setdefault(service.names.grpc_service.rpartition(".")[0], []).append(service)
    return [ProtoPackage(name, members) for name, members in found.items()]


def enum_values(package: ProtoPackage, enum: ProtoEnum) -> list[tuple[str, int]]:
    """Return the names and numbers of an enum's values, that with the number 0 first.

    Values are names of the package, not of the enum, so the name of the enum is before each.
    """
    prefix = snake(package.name_of(enum)).upper()
    found: dict[str, int] = {} if enum.zero is not None else {f"{prefix}_UNSPECIFIED": 0}
    for member in sorted(enum.members, key=lambda one: one.number != 0):
        base = f"{prefix}_{_NOT_IN_NAMES.sub('_', snake(member.name)).upper()}"
        name, number = base, 2
        while name in found:
            name, number = f"{base}_{number}", number + 1
        found[name] = member.number
    return list(found.items())


class EnumNames:
    """The names of the values of the enums in a package, made when they are first needed."""

    def __init__(self, package: ProtoPackage) -> None:
        self._package = package
        self._found: dict[ProtoEnum, tuple[dict[str, int], dict[int, str]]] = {}

    def of(self, enum: ProtoEnum) -> tuple[dict[str, int], dict[int, str]]:
        """Return the numbers by name, and the names by number."""
        known = self._found.get(enum)
        if known is None:
            values = enum_values(self._package, enum)
            known = self._found[enum] = dict(values), {number: name for name, number in reversed(values)}
        return known


def _reached(roots: Iterable[ProtoMessage]) -> Iterator[ProtoMessage | ProtoEnum]:
    """Yield the messages and enums of a package that these messages hold, each once; not those from elsewhere."""
    seen: set[ProtoMessage | ProtoEnum] = set()
    waiting: list[ProtoMessage | ProtoEnum] = list(roots)
    while waiting:
        found = waiting.pop(0)
        if found in seen or (isinstance(found, ProtoMessage) and found.known_as is not None):
            continue
        seen.add(found)
        if isinstance(found, ProtoMessage):
            waiting[:0] = [one for field in found.fields for one in _held(field)]
            # Entries of maps are written in place.
            if found.form == "entry":
                continue
        yield found


def _held(field: ProtoField) -> Iterator[ProtoMessage | ProtoEnum]:
    if field.message is not None:
        yield field.message
    if field.enum is not None:
        yield field.enum


def _known_messages(
    messages: Iterable[ProtoMessage], roots: Iterable[ProtoMessage]
) -> Iterator[ProtoMessage]:
    waiting = [*roots, *(one for message in messages for field in message.fields for one in _held(field))]
    for found in waiting:
        if isinstance(found, ProtoMessage):
            if found.form == "entry":
                waiting += [one for field in found.fields for one in _held(field)]
            elif found.known_as is not None:
                yield found


def _roots(services: Sequence[ProtoService]) -> Iterator[ProtoMessage]:
    for service in services:
        for method in service.methods:
            if method.messages is not None:
                yield method.messages.request
                yield method.messages.result


def _service(
    definition: ServiceDefinition, derivation: Derivation, failures: list[ConfigError]
) -> ProtoService:
    methods = []
    for method in definition.methods.values():
        messages = None
        try:
            if codec_for(method, "msgpack") != "raw":
                messages = method_messages(method, derivation)
        except ConfigError as error:
            failures.append(error)
            continue
        methods.append(ProtoMethod(definition.names.grpc_method(method.name), method, messages))
    return ProtoService(definition.names.grpc_service.rpartition(".")[2], definition, tuple(methods))
