"""The origin of a contract that `fastrpc contract` reads: a server's reflection, a module, or a file."""

import inspect
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from fastrpc.cli.calling.command import run_async
from fastrpc.cli.contracts.protos.reading import has_descriptors, read_proto_contract
from fastrpc.cli.listing import explained
from fastrpc.errors import ConfigError, FastRPCError
from fastrpc.gateway.contract_files import executed_file, services_in, with_functions
from fastrpc.gateway.dialing import Dialing
from fastrpc.handlers.import_string import import_from_string
from fastrpc.handlers.sources import SourceScope, open_sources
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.rpc.described_services import SERVICES_METHOD, ServiceDescription, read_descriptions
from fastrpc.rpc.description import describe_services
from fastrpc.rpc.service import service_definition
from fastrpc.server.builtin import BUILTIN_PREFIX, Reflection
from fastrpc.server.health import Health
from fastrpc.workers.app import app_of

__all__ = ["definitions_in", "read_contracts"]

_numbers = itertools.count()


def read_contracts(
    source: str, timeout: float, dial: Dialing, folders: Sequence[Path] = ()
) -> list[ServiceDescription]:
    """Return the services of an address, a `.json`, `.py` or `.proto` file, or `module:name`, without fastrpc's own.

    `dial` has the credentials for addresses; imports of a .proto file are found in `folders`.

    Raises:
        ConfigError: the source is something else, or has no service.
        DecodeError: the description of the services is malformed.
        FastRPCError: the server cannot be reached, or its reflection is off.
        OSError: the file cannot be read.
    """
    if has_descriptors(source):
        written = read_proto_contract(source, timeout, dial, folders)
        found = _described(services_in(_executed_text(written.text)), source)
    elif "://" in source:
        found = read_descriptions(_asked(source, timeout, dial), source)
    elif source.endswith(".json"):
        found = read_descriptions(_decoded(Path(source)), source)
    elif source.endswith(".py"):
        found = _described(services_in(executed_file(Path(source))), source)
    else:
        found = _described(_services_of(import_from_string(source)), source)
    services = [one for one in found if not one.name.startswith(BUILTIN_PREFIX)]
    if not services:
        raise ConfigError(f"{source} has no service", hint="give a class under @service, or a list of them")
    return services


def definitions_in(text: str) -> list[ServiceDefinition]:
    """Return the services that `fastrpc run` serves for an import string, and the services that every server adds.

    Functions and context managers are run, since their services are known only afterwards.

    Raises:
        ConfigError: the text cannot be imported or run, or names something else.
    """
    value = import_from_string(text)
    app = app_of(value)
    try:
        own = run_async(_definitions_of(value if app is None else app.sources))
    except FastRPCError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{text} cannot be opened: {type(error).__name__}: {error}",
            hint="name the classes of its services, which are not run: module:Class",
        ) from error
    return [*own, service_definition(Health), service_definition(Reflection)]


async def _definitions_of(source: Any) -> list[ServiceDefinition]:
    if isinstance(source, list | tuple):
        source = with_functions(source)
        return [definition for one in source for definition in await _definitions_of(one)]
    try:
        return [service_definition(source)]
    except TypeError:
        async with SourceScope() as scope:
            opened = await open_sources([source], scope)
            return [service_definition(one) for one in with_functions([each.service for each in opened])]


def _asked(address: str, timeout: float, dial: Dialing) -> Any:
    client = dial.client(address)

    async def ask() -> Any:
        async with client:
            view = client.with_options(timeout=timeout, idempotent=True)
            return await explained(view.call(SERVICES_METHOD), address)

    return run_async(ask())


def _decoded(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path} is not JSON: {error}", hint="fastrpc contract ADDRESS --json writes such a file"
        ) from None


def _described(services: list[Any], source: str) -> list[ServiceDescription]:
    return read_descriptions(describe_services(services), source)


def _executed_text(text: str) -> ModuleType:
    """Run the source of a contract that fastrpc wrote, and return its module."""
    module = ModuleType(f"fastrpc_contract_of_proto_{next(_numbers)}")
    # Annotations are resolved in `sys.modules` by the module's name.
    sys.modules[module.__name__] = module
    exec(compile(text, module.__name__, "exec", dont_inherit=True), vars(module))  # noqa: S102
    return module


def _services_of(value: Any) -> list[Any]:
    """Return the services in a module's attribute. A function is run only if it returns an App."""
    if inspect.ismodule(value):
        return services_in(value)
    app = app_of(value)
    if app is not None:
        return _services_of(app.sources)
    if isinstance(value, list | tuple):
        return [service for one in with_functions(value) for service in _services_of(one)]
    try:
        service_definition(value)
    except TypeError as error:
        raise ConfigError(
            str(error),
            hint="give a class under @service, an instance of one, a list of these, or an App of them",
        ) from None
    return [value]
