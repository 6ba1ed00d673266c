"""Compare two versions of a service: callers have the OLD contract, a server runs the NEW one.

The rules are in docs/guide/contracts.md.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fastrpc.cli.contracts.type_comparison import Types, differences
from fastrpc.cli.contracts.type_tree import read_type
from fastrpc.rpc.described_services import MethodDescription, ParameterDescription, ServiceDescription

__all__ = ["ContractChange", "changes"]


class ContractChange(NamedTuple):
    """One difference, and whether callers of the old version continue to work."""

    where: str
    text: str
    is_compatible: bool


def changes(old: Sequence[ServiceDescription], new: Sequence[ServiceDescription]) -> Iterator[ContractChange]:
    """Yield the changes from `old` to `new`, in the order of `old`."""
    known = {service.name: service for service in new}
    # The name of a method in `old` may be an alias in `new`.
    methods = {name: method for service in new for method in service.methods for name in method.aliases}
    methods |= {method.full_name: method for service in new for method in service.methods}
    types = {method.full_name: _types_of(service) for service in new for method in service.methods}
    met = set()
    for service in old:
        now = known.get(service.name)
        if now is not None and service.version != now.version:
            yield ContractChange(
                service.name, f"the version was {service.version}, now it is {now.version}", True
            )
        if now is None and not any(method.full_name in methods for method in service.methods):
            yield ContractChange(service.name, "the service is gone", False)
            continue
        for method in service.methods:
            where = f"{service.name}.{method.name}"
            found = methods.get(where)
            if found is None:
                yield ContractChange(where, "the method is gone", False)
                continue
            met.add(found.full_name)
            compared = _Methods(method, found, _types_of(service), types[found.full_name])
            for text, is_compatible in compared.differences():
                yield ContractChange(where, text, is_compatible)
        if now is not None:
            yield from _new_methods(now, met)
    names = {service.name for service in old}
    for service in new:
        if service.name not in names and not any(method.full_name in met for method in service.methods):
            yield ContractChange(service.name, "the service is new", True)


def _new_methods(service: ServiceDescription, met: set[str]) -> Iterator[ContractChange]:
    for method in service.methods:
        if method.full_name not in met:
            yield ContractChange(method.full_name, "the method is new", True)


def _types_of(service: ServiceDescription) -> Types:
    return {one.name: one for one in service.types}


class _Methods:
    """One method in both versions."""

    def __init__(
        self, old: MethodDescription, new: MethodDescription, old_types: Types, new_types: Types
    ) -> None:
        self._old = old
        self._new = new
        self._types = old_types, new_types

    def differences(self) -> Iterator[tuple[str, bool]]:
        old, new = self._old, self._new
        if old.kind != new.kind:
            yield f"it was {old.kind}, now it is {new.kind}", False
            return
        yield from self._names()
        yield from self._options()
        yield from self._parameters()
        if old.stream is not None and new.stream is not None:
            yield from self._narrower("the stream", old.stream.exact, new.stream.exact)
            # A stream is not sent as an argument: neither its name nor its position is sent.
            if old.stream.position != new.stream.position:
                yield "the stream is at another position", True
            if old.stream.name != new.stream.name:
                yield f"the stream {old.stream.name!r} is called {new.stream.name!r} now", True
            if old.stream.upload and not new.stream.upload:
                yield "the stream is no longer an Upload: forms are refused", False
            elif new.stream.upload and not old.stream.upload:
                yield "the stream is an Upload now: it may come as a form", True
        yield from self._result()

    def _names(self) -> Iterator[tuple[str, bool]]:
        """Compare the names of the method: callers may use each of them."""
        old, new = self._old, self._new
        if old.full_name != new.full_name:
            yield f"it is called {new.full_name!r} now, its old name is kept", True
        before, after = {old.full_name, *old.aliases}, {new.full_name, *new.aliases}
        for name in sorted(before - after):
            yield f"it is no longer called {name!r}", False
        for name in sorted(after - before - {new.full_name}):
            yield f"it is called {name!r}, too", True

    def _options(self) -> Iterator[tuple[str, bool]]:
        old, new = self._old, self._new
        if _codec(old, self._types[0]) != _codec(new, self._types[1]):
            yield f"the codec was {old.codec}, now it is {new.codec}", False
        if old.idempotent and not new.idempotent:
            yield "it is no longer idempotent: a caller that retries may run it twice", False
        elif new.idempotent and not old.idempotent:
            yield "it is idempotent now", True
        if old.safe and not new.safe:
            yield "it is no longer safe: callers by GET are refused", False
        elif new.safe and not old.safe:
            yield "it is safe now", True
        if old.tool and not new.tool:
            yield "it is no longer a tool of language models", False
        elif new.tool and not old.tool:
            yield "it is a tool of language models now", True
        if old.http is not None and old.http != new.http:
            yield f"it is no longer at {old.http}", False
        if new.http is not None and old.http != new.http:
            yield f"it is at {new.http}, too", True
        if old.timeout != new.timeout:
            yield f"the timeout was {old.timeout}, now it is {new.timeout}", True

    def _parameters(self) -> Iterator[tuple[str, bool]]:
        here = {parameter.name: number for number, parameter in enumerate(self._new.parameters)}
        meant = set()
        for position, parameter in enumerate(self._old.parameters):
            name = self._new.renamed.get(parameter.name, parameter.name)
            if name not in here:
                yield self._missing(position, parameter), False
                continue
            meant.add(name)
            if name != parameter.name:
                yield f"parameter {parameter.name!r} is called {name!r} now, its old name is kept", True
            yield from self._parameter(parameter, position, here[name])
        yield from self._old_names(here)
        for parameter in self._new.parameters:
            if parameter.name not in meant and not self._is_renaming(here[parameter.name]):
                yield _added(parameter)

    def _missing(self, position: int, parameter: ParameterDescription) -> str:
        if self._is_renaming(position):
            now = self._new.parameters[position].name
            return (
                f"parameter {parameter.name!r} is called {now!r} now:"
                f" keep the old name by renamed={{{parameter.name!r}: {now!r}}}"
            )
        return f"parameter {parameter.name!r} is gone: calls that give it are refused"

    def _is_renaming(self, position: int) -> bool:
        """Return whether the parameter at a position seems to be the old parameter under another name."""
        if position >= min(len(self._old.parameters), len(self._new.parameters)):
            return False
        was, now = self._old.parameters[position], self._new.parameters[position]
        return self._new.renamed.get(was.name, was.name) not in {
            one.name for one in self._new.parameters
        } and now.name not in {self._new.renamed.get(one.name, one.name) for one in self._old.parameters}

    def _parameter(self, old: ParameterDescription, was: int, now: int) -> Iterator[tuple[str, bool]]:
        new, place = self._new.parameters[now], f"parameter {old.name!r}"
        if old.by_position and not new.by_position:
            yield f"{place} can no longer be given by position", False
        elif old.by_position and was != now:
            yield f"{place} was number {was + 1}, now it is number {now + 1}", False
        if old.by_name and not new.by_name:
            yield f"{place} can no longer be given by name", False
        if new.required and not old.required:
            yield f"{place} no longer has a default", False
        elif old.required and not new.required:
            yield f"{place} has a default now", True
        elif old.default != new.default and not {old.default, new.default} <= {"...", "UNSET"}:
            yield f"{place}: the default was {old.default}, now it is {new.default}", True
        yield from self._narrower(place, old.exact, new.exact)

    def _old_names(self, here: dict[str, int]) -> Iterator[tuple[str, bool]]:
        """Compare the former names of parameters that OLD accepted, since callers may still use them."""
        for name, meant in self._old.renamed.items():
            now = self._new.renamed.get(name, name)
            if now not in here:
                yield f"the old name {name!r} of parameter {meant!r} is no longer kept", False
            elif now != self._new.renamed.get(meant, meant):
                yield f"the old name {name!r} of parameter {meant!r} means {now!r} now", False

    def _narrower(self, place: str, old: str, new: str) -> Iterator[tuple[str, bool]]:
        """Compare the types of an argument. NEW must accept all values of OLD, so the type may become wider."""
        before, after = self._types
        found, notes = differences(old, before, new, after, keeps_all=True)
        yield from ((f"{place} takes less: {text}", False) for text in found)
        yield from ((f"{place}: {text}", True) for text in notes)
        if old != new:
            yield f"{place} was {old}, now it is {new}", True

    def _result(self) -> Iterator[tuple[str, bool]]:
        """Compare the types of the result. OLD must accept all values of NEW, so the type may become narrower."""
        before, after = self._types
        old, new = _message(self._old), _message(self._new)
        found, notes = differences(new, after, old, before, keeps_all=False)
        yield from ((f"the result differs: {text}", False) for text in found)
        yield from ((f"the result: {text}", True) for text in notes)
        if old != new:
            yield f"the result was {old}, now it is {new}", True


def _added(parameter: ParameterDescription) -> tuple[str, bool]:
    if parameter.required:
        return f"parameter {parameter.name!r} is new and has no default", False
    return f"parameter {parameter.name!r} is new, with a default", True


def _message(method: MethodDescription) -> str:
    """Return the type of the result, or of one message of the stream."""
    tree = read_type(method.exact_result)
    is_stream = method.kind in {"server_stream", "both_ways"} and tree.name == "AsyncIterator"
    return str(tree.arguments[0]) if is_stream and tree.arguments else method.exact_result


def _codec(method: MethodDescription, types: Types) -> str | None:
    """Return the codec of a method; a method with protobuf messages uses protobuf even if it names no codec."""
    stream = [] if method.stream is None else [method.stream.type]
    texts = [method.result, *(one.type for one in method.parameters), *stream]
    if any(text in types and types[text].kind == "protobuf" for text in texts):
        return "protobuf"
    return method.codec
