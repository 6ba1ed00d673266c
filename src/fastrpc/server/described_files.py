"""Descriptor files that contain only the methods that a caller may call, and their types."""

from collections.abc import Callable, Collection, Iterable, Sequence
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.marshals import codec_for
from fastrpc.rpc.protobuf.descriptor_wire import imports_in, names_in
from fastrpc.rpc.protobuf.descriptors import file_descriptor, file_name
from fastrpc.rpc.protobuf.imported_files import imported_files
from fastrpc.rpc.protobuf.known_files import HEALTH, REFLECTIONS, known_file, service_file
from fastrpc.rpc.protobuf.packages import ProtoPackage, packages_of
from fastrpc.rpc.service import BUILTIN_PREFIX

__all__ = ["DescribedFiles", "Describing"]

#: The most sets of methods whose files are cached. Callers with the same permissions share a set.
_MOST_KEPT: Final = 32

_KNOWN_SERVICES: Final = frozenset({HEALTH, *REFLECTIONS})


class DescribedFiles:
    """Descriptor files by name, and the file in which each name is defined.

    Args:
        services: the names of the services in gRPC.
        files: encoded descriptors by file name.
    """

    def __init__(self, services: Iterable[str], files: dict[str, bytes]) -> None:
        self.services = sorted(services)
        self._files = files
        self._places = {name: file for file, content in files.items() for name in names_in(content)}
        self._imports = {file: tuple(imports_in(content)) for file, content in files.items()}

    def has_name(self, name: str) -> bool:
        """Return whether a file defines a message, enum, field, value, service or method of this name."""
        return name in self._places

    def of_name(self, name: str, sent: set[str]) -> list[bytes] | None:
        """Return the file that defines a name, with its imports; see `file`."""
        file = self._places.get(name)
        return None if file is None else self.file(file, sent)

    def file(self, name: str, sent: set[str]) -> list[bytes] | None:
        """Return a file and its imports, without imports in `sent`; None if the file is unknown.

        Args:
            sent: the names of files that the caller has received. Returned files are added.
        """
        if name not in self._files:
            return None
        waiting, met, found = [name], {name}, []
        for one in waiting:
            if one not in self._files:
                continue
            if one == name or one not in sent:
                found.append(self._files[one])
                sent.add(one)
            new = [imported for imported in self._imports[one] if imported not in met]
            met.update(new)
            waiting += new
        return found


class _Generated(NamedTuple):
    """A generated service, and its descriptor."""

    definition: ServiceDefinition
    descriptor: Any


class Describing:
    """Creates the files for callers with different permissions.

    Args:
        services: returns the services of the server.
    """

    def __init__(self, services: Callable[[], Sequence[ServiceDefinition]]) -> None:
        self._services = services
        self._made: dict[frozenset[str], DescribedFiles] = {}
        self._names: tuple[str, ...] = ()
        self._generated: list[_Generated] = []
        self._packages: list[ProtoPackage] = []

    def files_for(self, may_call: Callable[[MethodDefinition], bool]) -> DescribedFiles:
        """Return the files for a caller."""
        # A service without a name has bare functions, which only Go callers can call.
        services = [one for one in self._services() if one.name]
        names = tuple(one.name for one in services)
        if names != self._names:
            # Services were added or removed since the last call.
            self._sort(services)
            self._names = names
            self._made.clear()
        allowed = frozenset(
            method.full_name for one in services for method in one.methods.values() if may_call(method)
        )
        found = self._made.get(allowed)
        if found is None:
            if len(self._made) >= _MOST_KEPT:
                del self._made[next(iter(self._made))]
            found = self._made[allowed] = self._make(services, allowed)
        return found

    def _sort(self, services: Iterable[ServiceDefinition]) -> None:
        """Split services by the source of their schema: files of generated code, or Python classes."""
        own: list[ServiceDefinition] = []
        self._generated.clear()
        for one in services:
            if not _has_messages(one):
                if _known_name(one) is None:
                    own.append(one)
                continue
            if find_spec("google") is None or find_spec("google.protobuf") is None:
                # The messages belong to another library, and only that library could describe them.
                continue
            from fastrpc.rpc.protobuf.generated_files import generated_service

            descriptor = generated_service(one)
            if descriptor is not None:
                self._generated.append(_Generated(one, descriptor))
            elif all(method.given_coders is None for method in one.methods.values()):
                own.append(one)
        self._packages = packages_of(own)

    def _make(self, services: Iterable[ServiceDefinition], allowed: Collection[str]) -> DescribedFiles:
        names: list[str] = []
        files: dict[str, bytes] = {}
        for one in services:
            methods = [method for method in one.methods.values() if method.full_name in allowed]
            if not methods:
                continue
            names += self._described_known(one, methods, files) or [one.names.grpc_service]
        packages = [package.part(lambda one: one.full_name in allowed) for package in self._packages]
        files |= self._cut(packages, allowed)
        for name, imported in imported_files(packages).items():
            files.setdefault(name, file_descriptor(imported, name))
            _add_known(imported, files)
        for package in packages:
            if package.services:
                name = _free_name(package, files)
                files[name] = file_descriptor(package, name)
                _add_known(package, files)
        return DescribedFiles(names, files)

    def _described_known(
        self, one: ServiceDefinition, methods: Sequence[MethodDefinition], files: dict[str, bytes]
    ) -> list[str]:
        """Add the files of gRPC's own services that a built-in service offers; return their names."""
        if _known_name(one) is None:
            return []
        callable_names = {alias for method in methods for alias in method.options.alias or ()}
        names = [alias for alias in one.names.alias if alias in _KNOWN_SERVICES] if callable_names else []
        for alias in names:
            name, content = service_file(alias, callable_names)
            files[name] = content
        return names or [one.name]

    def _cut(self, packages: Iterable[ProtoPackage], allowed: Collection[str]) -> dict[str, bytes]:
        """Return the files of generated code, with only the allowed methods."""
        services = [
            (one.descriptor, [method.name for method in methods])
            for one in self._generated
            if (methods := [each for each in one.definition.methods.values() if each.full_name in allowed])
        ]
        messages = [owner.DESCRIPTOR for package in packages for owner in package.generated_messages()]
        if not services and not messages:
            return {}
        from fastrpc.rpc.protobuf.generated_files import CutFiles

        return CutFiles(services, messages).files()


def _add_known(package: ProtoPackage, files: dict[str, bytes]) -> None:
    """Add the files of google.protobuf that a file imports."""
    for name in package.imports():
        known = known_file(name)
        if known is not None:
            files[name] = known


def _has_messages(service: ServiceDefinition) -> bool:
    """Return whether payloads of a service are messages of the protobuf package."""
    return any(codec_for(method, "msgpack") == "protobuf" for method in service.methods.values())


def _known_name(service: ServiceDefinition) -> str | None:
    """Return the name of the gRPC service that a built-in service offers, or None."""
    if not service.name.startswith(BUILTIN_PREFIX):
        return None
    return next((alias for alias in service.names.alias if alias in _KNOWN_SERVICES), None)


def _free_name(package: ProtoPackage, files: Collection[str]) -> str:
    """Return a file name for a package that no file of generated code has."""
    name = file_name(package)
    while name in files:
        name = f"{name.removesuffix('.proto')}_classes.proto"
    return name
