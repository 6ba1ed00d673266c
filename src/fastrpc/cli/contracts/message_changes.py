"""Compare the messages of two versions of a service: gRPC callers have the OLD contract, a server runs the NEW one.

Only the numbers and types of fields are sent, not their names. Removing a number breaks callers: a later field may use
it.

https://protobuf.dev/programming-guides/proto3/#updating
"""

import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Final

from fastrpc.cli.contracts.check import ContractChange
from fastrpc.cli.contracts.text import written_contract
from fastrpc.errors import ConfigError
from fastrpc.gateway.contract_files import services_in
from fastrpc.rpc.described_services import ServiceDescription
from fastrpc.rpc.protobuf.messages import ProtoField, ProtoMessage
from fastrpc.rpc.protobuf.packages import ProtoMethod, ProtoPackage, packages_of
from fastrpc.rpc.service import service_definition

__all__ = ["message_changes"]

#: Types with the same encoding of values that fit both types.
_ALIKE: Final = {
    **dict.fromkeys(("int32", "uint32", "int64", "uint64", "bool"), "a varint"),
    **dict.fromkeys(("sint32", "sint64"), "a zigzag varint"),
    **dict.fromkeys(("fixed32", "sfixed32"), "four bytes"),
    **dict.fromkeys(("fixed64", "sfixed64"), "eight bytes"),
}

_MODULE: Final = "_compared_by_fastrpc"


def message_changes(
    old: Sequence[ServiceDescription], new: Sequence[ServiceDescription]
) -> Iterator[ContractChange]:
    """Yield the changes of messages from `old` to `new`, for methods that exist in both.

    Raises:
        ConfigError: a contract has messages of generated code whose module is missing.
    """
    before, after = _methods_of(old), _methods_of(new)
    for name, method in before.items():
        now = after.get(name)
        if now is None or method.messages is None or now.messages is None:
            continue
        for part, given, expected in (
            ("the request", method.messages.request, now.messages.request),
            ("the answer", method.messages.result, now.messages.result),
        ):
            compared = _Messages(is_request=part == "the request")
            for text, is_compatible in compared.differences(part, given, expected):
                yield ContractChange(method.definition.full_name, f"by gRPC {text}", is_compatible)


def _methods_of(services: Sequence[ServiceDescription]) -> dict[str, ProtoMethod]:
    """Return the methods by each of their full names; methods without a form in protobuf are left out."""
    found: dict[str, ProtoMethod] = {}
    for package in _packages(services):
        for service in package.services:
            for method in service.methods:
                for name in (method.definition.full_name, *method.definition.aliases):
                    found.setdefault(name, method)
    return found


def _packages(services: Sequence[ServiceDescription]) -> list[ProtoPackage]:
    """Return the protobuf schema of described services, which is the schema of their written contract."""
    module = ModuleType(_MODULE)
    # Annotations are resolved through `sys.modules`.
    sys.modules[_MODULE] = module
    try:
        exec(compile(written_contract(services).text, _MODULE, "exec", dont_inherit=True), vars(module))  # noqa: S102
        return packages_of(map(service_definition, services_in(module)))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the contract has messages of the module {error.name!r}, which is missing",
            hint="give the folder of the modules that protoc wrote: PYTHONPATH=FOLDER fastrpc contract …",
        ) from error
    finally:
        del sys.modules[_MODULE]


class _Messages:
    """Compares messages, each pair once."""

    def __init__(self, *, is_request: bool) -> None:
        self._is_request = is_request
        self._seen: set[tuple[ProtoMessage, ProtoMessage]] = set()

    def differences(self, place: str, old: ProtoMessage, new: ProtoMessage) -> Iterator[tuple[str, bool]]:
        """Yield each difference, and whether callers of the old version keep working."""
        if (old, new) in self._seen:
            return
        self._seen.add((old, new))
        if old.known_as != new.known_as:
            yield f"{place} was {_title(old)}, now it is {_title(new)}", False
            return
        if (old.form == "union") != (new.form == "union"):
            yield f"{place} was {_form(old)}, now it is {_form(new)}", False
            return
        known = {field.number: field for field in new.fields}
        for field in old.fields:
            where = f"field {field.number} of {place}"
            now = known.pop(field.number, None)
            if now is None:
                effect = "a value for it is ignored" if self._is_request else "callers get its zero value"
                yield (
                    f"{where}, {field.name!r}, is gone: {effect}, and a later field may take its number",
                    False,
                )
            else:
                yield from self._field(where, field, now)
        for field in known.values():
            yield from self._new_field(place, field)

    def _new_field(self, place: str, field: ProtoField) -> Iterator[tuple[str, bool]]:
        # Callers of the old version do not send the field.
        if self._is_request and field.is_required and field.absent is None:
            yield f"field {field.number} of {place}, {field.name!r}, is new and has no default", False
        else:
            yield f"field {field.number} of {place}, {field.name!r}, is new", True

    def _field(self, where: str, old: ProtoField, new: ProtoField) -> Iterator[tuple[str, bool]]:
        if old.shape != new.shape:
            yield f"{where} was {_shape(old)}, now it is {_shape(new)}", False
            return
        if old.name != new.name:
            yield f"{where} was {old.name!r}, now it is {new.name!r}; JSON has the name", True
        if old.oneof != new.oneof:
            # Setting a field of a oneof clears the previous one, so moving a field changes the meaning.
            yield f"{where} was in {_oneof(old)}, now it is in {_oneof(new)}", False
        if old.message is not None and new.message is not None:
            yield from self._parts(where, old.message, new.message)
        elif old.enum is not None and new.enum is not None:
            yield from self._members(where, old, new)
        elif old.kind != new.kind:
            written, read = (old.kind, new.kind) if self._is_request else (new.kind, old.kind)
            yield f"{where} was {old.kind}, now it is {new.kind}", _takes(read, written)

    def _parts(self, where: str, old: ProtoMessage, new: ProtoMessage) -> Iterator[tuple[str, bool]]:
        if old.form == new.form == "entry":
            for part, given, expected in zip(("the key", "the value"), old.fields, new.fields, strict=True):
                yield from self._field(f"{part} of {where}", given, expected)
        else:
            yield from self.differences(where, old, new)

    def _members(self, where: str, old: ProtoField, new: ProtoField) -> Iterator[tuple[str, bool]]:
        before, after = _first_names(old), _first_names(new)
        for number, name in before.items():
            if number not in after:
                yield f"{where} no longer has the member {name} = {number}", False
            elif after[number] != name:
                yield f"member {number} of {where} was {name}, now it is {after[number]}", False
        for number in sorted(after.keys() - before.keys()):
            yield f"{where} has the member {after[number]} = {number}, too", True


def _first_names(field: ProtoField) -> dict[int, str]:
    """Return the members of an enum by number, each by its first name."""
    members = () if field.enum is None else field.enum.members
    return {one.number: one.name for one in reversed(members)}


def _oneof(field: ProtoField) -> str:
    return "no oneof" if field.oneof is None else f"the oneof {field.oneof!r}"


def _takes(read: str, written: str) -> bool:
    """Return whether a reader of one type accepts values that were written as another type."""
    if (read, written) == ("bytes", "string") or (written == "enum" and _ALIKE.get(read) == "a varint"):
        return True
    return read in _ALIKE and _ALIKE[read] == _ALIKE.get(written)


def _title(message: ProtoMessage) -> str:
    return message.known_as or f"the message {message.name}"


def _form(message: ProtoMessage) -> str:
    return "one of several messages" if message.form == "union" else "one message"


def _shape(field: ProtoField) -> str:
    return {"single": "one value", "repeated": "a list", "map": "a map"}[field.shape]
