"""The .proto files that classes declare as their own, with the messages that services use."""

from collections.abc import Iterable, Iterator

from fastrpc.rpc.protobuf.messages import ProtoEnum, ProtoField, ProtoMessage
from fastrpc.rpc.protobuf.packages import ProtoPackage

__all__ = ["imported_files"]


def imported_files(packages: Iterable[ProtoPackage]) -> dict[str, ProtoPackage]:
    """Return the other files by name, with the messages and enums that the packages use from them.

    Files of google.protobuf and of generated code are not included.
    """
    found: dict[str, list[ProtoMessage | ProtoEnum]] = {}
    seen: set[ProtoMessage | ProtoEnum] = set()
    waiting = [one for package in packages for one in package.known()]
    while waiting:
        one = waiting.pop(0)
        if one in seen or one.file is None or not _is_declared(one):
            continue
        seen.add(one)
        found.setdefault(one.file, []).append(one)
        if isinstance(one, ProtoMessage):
            waiting += _held(one.fields)
    return {name: ProtoPackage.of_file(_package_of(parts[0]), parts) for name, parts in found.items()}


def _is_declared(found: ProtoMessage | ProtoEnum) -> bool:
    return isinstance(found, ProtoEnum) or (found.owner is not None and found.form != "nothing")


def _package_of(found: ProtoMessage | ProtoEnum) -> str:
    while found.outer is not None:
        found = found.outer
    return found.declared.package


def _held(fields: Iterable[ProtoField]) -> Iterator[ProtoMessage | ProtoEnum]:
    for field in fields:
        if field.shape == "map" and field.message is not None:
            yield from _held(field.message.fields)
        elif (found := field.message or field.enum) is not None:
            yield found
