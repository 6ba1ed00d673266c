"""Written .proto files, one for each kind of construct, and the modules that `fastrpc contract` writes from them."""

import itertools
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import fastrpc
from fastrpc.cli.contracts.protos.compiling import compiled
from fastrpc.cli.contracts.protos.files import ProtoFiles
from fastrpc.cli.contracts.protos.module import written_module
from fastrpc.cli.contracts.text import WrittenContract
from fastrpc.gateway.contract_files import services_in
from fastrpc.rpc.protobuf.declared import declared_of
from fastrpc.rpc.protobuf.derivation import is_message_class
from fastrpc.rpc.protobuf.packages import ProtoPackage
from fastrpc.rpc.service import service_definition

__all__ = [
    "FILES",
    "FOLDER",
    "Contract",
    "contract_of",
    "contract_of_text",
    "imported",
    "read",
    "whole_package",
]

FOLDER = Path(__file__).parent / "protos"
#: Each shows one kind of construct.
FILES = tuple(sorted(path.name for path in FOLDER.glob("*.proto")))

_numbers = itertools.count()


class Contract(NamedTuple):
    """A file with its contract."""

    files: ProtoFiles
    written: WrittenContract
    module: ModuleType

    @property
    def main(self) -> Any:
        """The descriptor of the file."""
        (name,) = self.files.main
        return self.files.pool.FindFileByName(name)


def imported(source: str) -> ModuleType:
    """Run the source of a module, and return the module."""
    module = ModuleType(f"proto_contract_{next(_numbers)}")
    sys.modules[module.__name__] = module
    exec(compile(source, module.__name__, "exec", dont_inherit=True), vars(module))
    return module


def read(path: Path, folders: Sequence[Path]) -> Contract:
    """Return the contract of any file."""
    files = compiled(path, folders)
    described = ProtoFiles(files, [files[-1].name])
    written = written_module(described, files[-1].name)
    return Contract(described, written, imported(written.text))


@cache
def contract_of(name: str) -> Contract:
    """Return the contract of one of FILES."""
    return read(FOLDER / name, [FOLDER])


def contract_of_text(folder: Path, text: str) -> Contract:
    """Return the contract of a file with a text."""
    (folder / "given.proto").write_text(text, encoding="utf-8")
    return read(folder / "given.proto", [folder])


def whole_package(contract: Contract) -> ProtoPackage:
    """Return the schema of a module: of its services, and of one that uses each class of the file."""
    file = contract.main
    services = [service_definition(one) for one in services_in(contract.module)]
    kinds = [one for one in vars(contract.module).values() if _is_own(one, contract.module)]
    if kinds:
        # Files of one package have names of their own.
        name = "_".join(part for part in re.split(r"\W+", file.name.removesuffix(".proto")) if part)
        services.append(_using(kinds, f"{file.package}.Every_{name}".lstrip("."), f"use_{name}"))
    return ProtoPackage(file.package, services)


def _is_own(value: Any, module: ModuleType) -> bool:
    """Whether a module defines a message or an enum that is at the top of its file."""
    if not isinstance(value, type) or value.__module__ != module.__name__ or "." in value.__qualname__:
        return False
    return not declared_of(value).file and (is_message_class(value) or issubclass(value, int))


def _using(kinds: Sequence[Any], name: str, method: str) -> Any:
    """Return a service with a method for each class."""
    methods = {}
    for at, kind in enumerate(kinds):

        async def use(self: Any) -> Any: ...

        use.__annotations__ = {"return": kind}
        methods[f"{method}_{at}"] = fastrpc.method(use)
    return service_definition(fastrpc.service(name)(type("Every", (), methods)))
