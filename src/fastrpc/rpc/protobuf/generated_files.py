"""The files of generated code, reduced to some methods and the types that they use. Needs the protobuf package.

If a message is nested in an unused message, the outer message is included without its fields. Only options that change
meanings are included, because other options may contain internal texts. Extensions, reserved names and comments are
omitted.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition

__all__ = ["CutFiles", "generated_service"]

_KEPT_OPTIONS: Final[Mapping[str, Sequence[str]]] = {
    "FileOptions": ("features",),
    "MessageOptions": ("map_entry", "deprecated", "features"),
    "FieldOptions": ("packed", "jstype", "deprecated", "features"),
    "EnumOptions": ("allow_alias", "deprecated", "features"),
    "EnumValueOptions": ("deprecated", "features"),
    "OneofOptions": ("features",),
    "ServiceOptions": ("deprecated", "features"),
    "MethodOptions": ("deprecated", "idempotency_level", "features"),
}


def generated_service(definition: ServiceDefinition) -> Any:
    """Return the descriptor of a generated service; None if no descriptor pool has it with all its methods."""
    from google.protobuf import descriptor_pool

    pools = [_pool_of(one) for one in definition.methods.values()]
    for pool in (*filter(None, pools), descriptor_pool.Default()):
        try:
            found = pool.FindServiceByName(definition.names.grpc_service)
        except KeyError:
            continue
        if definition.methods.keys() <= set(found.methods_by_name):
            return found
    return None


def _pool_of(method: MethodDefinition) -> Any:
    """Return the descriptor pool of the first message class of a method."""
    types = method.types()
    for kind in (*types.parameters, types.message, types.result):
        file: Any = getattr(getattr(kind, "DESCRIPTOR", None), "file", None)
        if file is not None:
            return getattr(file, "pool", None)
    return None


class CutFiles:
    """The files of generated code, reduced to some methods of services, some messages, and the types that these use.

    Args:
        services: the descriptors of services, each with the names of the methods to include.
        messages: descriptors of further messages.
    """

    def __init__(self, services: Iterable[tuple[Any, Sequence[str]]], messages: Iterable[Any] = ()) -> None:
        self._services = {found.full_name: (found, frozenset(methods)) for found, methods in services}
        #: `_whole`: the names of messages and enums to include completely. `_places`: the names of messages that are
        #: included only as outer messages.
        self._whole: set[str] = set()
        self._places: set[str] = set()
        #: `_files`: the descriptors of files by name. `_imports`: the names of the imports of each file.
        self._files: dict[str, Any] = {}
        self._imports: dict[str, set[str]] = {}
        for found, methods in self._services.values():
            self._enter(found.file)
            for method in found.methods:
                if method.name in methods:
                    for kind in (method.input_type, method.output_type):
                        self._import(found.file, kind)
                        self._use(kind)
        for message in messages:
            self._use(message)

    def files(self) -> dict[str, bytes]:
        """Return the files by name, encoded."""
        return {name: self._cut(file).SerializeToString() for name, file in self._files.items()}

    def _enter(self, file: Any) -> None:
        self._files.setdefault(file.name, file)
        self._imports.setdefault(file.name, set())

    def _import(self, file: Any, used: Any) -> None:
        if used.file.name != file.name:
            self._imports[file.name].add(used.file.name)

    def _use(self, kind: Any) -> None:
        """Include a message or an enum, and all types that it uses."""
        waiting = [kind]
        while waiting:
            found = waiting.pop()
            if found.full_name in self._whole:
                continue
            self._whole.add(found.full_name)
            self._enter(found.file)
            place = found.containing_type
            while place is not None:
                self._places.add(place.full_name)
                place = place.containing_type
            for field in getattr(found, "fields", ()):
                for used in (field.message_type, field.enum_type):
                    if used is not None:
                        self._import(found.file, used)
                        waiting.append(used)

    def _cut(self, file: Any) -> Any:
        from google.protobuf.descriptor_pb2 import FileDescriptorProto

        whole, made = FileDescriptorProto(), FileDescriptorProto()
        file.CopyToProto(whole)
        made.name, made.package = whole.name, whole.package
        for name in ("syntax", "edition"):
            if name in whole.DESCRIPTOR.fields_by_name and whole.HasField(name):
                setattr(made, name, getattr(whole, name))
        made.dependency.extend(sorted(self._imports[file.name]))
        _cut_options(whole, made)
        self._cut_messages(whole.message_type, made.message_type, whole.package)
        self._cut_enums(whole.enum_type, made.enum_type, whole.package)
        for service in whole.service:
            found = self._services.get(_full(whole.package, service.name))
            if found is not None:
                _cut_service(service, made.service.add(), found[1])
        return made

    def _cut_messages(self, given: Iterable[Any], made: Any, place: str) -> None:
        for message in given:
            name = _full(place, message.name)
            if name not in self._whole and name not in self._places:
                continue
            kept = made.add(name=message.name)
            _cut_options(message, kept)
            if name in self._whole:
                _copy(message.field, kept.field)
                _copy(message.oneof_decl, kept.oneof_decl)
            self._cut_messages(message.nested_type, kept.nested_type, name)
            self._cut_enums(message.enum_type, kept.enum_type, name)

    def _cut_enums(self, given: Iterable[Any], made: Any, place: str) -> None:
        for enum in given:
            if _full(place, enum.name) in self._whole:
                kept = made.add(name=enum.name)
                _cut_options(enum, kept)
                _copy(enum.value, kept.value)


def _cut_service(service: Any, made: Any, methods: frozenset[str]) -> None:
    made.name = service.name
    _cut_options(service, made)
    _copy([method for method in service.method if method.name in methods], made.method)


def _copy(given: Iterable[Any], made: Any) -> None:
    """Copy fields, values, oneofs or methods, with only the options that change meanings."""
    for one in given:
        kept = made.add()
        kept.CopyFrom(one)
        kept.ClearField("options")
        _cut_options(one, kept)


def _cut_options(given: Any, made: Any) -> None:
    if not given.HasField("options"):
        return
    options = given.options
    for name in _KEPT_OPTIONS[type(options).DESCRIPTOR.name]:
        field = type(options).DESCRIPTOR.fields_by_name.get(name)
        if field is None or not options.HasField(name):
            continue
        value = getattr(options, name)
        if field.message_type is None:
            setattr(made.options, name, value)
        else:
            _copy_known(value, getattr(made.options, name))


def _copy_known(given: Any, made: Any) -> None:
    """Copy the fields of a message that are not extensions."""
    setters: list[tuple[str, Any]] = [
        (field.name, value) for field, value in given.ListFields() if not field.is_extension
    ]
    made.SetInParent()
    for name, value in setters:
        setattr(made, name, value)


def _full(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
