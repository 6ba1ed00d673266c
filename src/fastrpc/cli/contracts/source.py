"""Where `fastrpc contract` reads a contract: from a server's reflection, a module, or a file."""

import importlib.util
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
from fastrpc.gateway.dialing import Dialing
from fastrpc.handlers.import_string import import_from_string
from fastrpc.handlers.sources import SourceScope, open_sources
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.rpc.described_services import SERVICES_METHOD, ServiceDescription, read_descriptions
from fastrpc.rpc.description import describe_services
from fastrpc.rpc.functions import function_services, is_function
from fastrpc.rpc.service import SERVICE_MARK, service_definition
from fastrpc.server.builtin import BUILTIN_PREFIX, Reflection
from fastrpc.server.health import Health
from fastrpc.workers.app import app_of

__all__ = ["definitions_in", "read_contracts", "services_in", "services_of_file"]

_numbers = itertools.count()


def read_contracts(
    source: str, timeout: float, dial: Dialing, folders: Sequence[Path] = ()
) -> list[ServiceDescription]:
    """Return the services of an address, a `.json`, `.py` or `.proto` file, or `module:name`, without fastrpc's own.

    Addresses are dialled with `dial`; imports of a .proto file are found in `folders`.

    Raises:
        ConfigError: it is something else, or holds no service.
        DecodeError: its description of the services has another form.
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
        found = _described(services_in(_executed(Path(source))), source)
    else:
        found = _described(_services_of(import_from_string(source)), source)
    services = [one for one in found if not one.name.startswith(BUILTIN_PREFIX)]
    if not services:
        raise ConfigError(f"{source} has no service", hint="give a class under @service, or a list of them")
    return services


def definitions_in(text: str) -> list[ServiceDefinition]:
    """Return the services that `fastrpc run` would serve by an import string, with those that every server adds.

    Functions and context managers are run, as only a run shows their services.

    Raises:
        ConfigError: it cannot be imported or run, or names something else.
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
        source = _joined(source)
        return [definition for one in source for definition in await _definitions_of(one)]
    try:
        return [service_definition(source)]
    except TypeError:
        async with SourceScope() as scope:
            opened = await open_sources([source], scope)
            return [service_definition(one) for one in _joined([each.service for each in opened])]


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


def services_of_file(path: Path) -> list[ServiceDefinition]:
    """Return the services that a file of Python defines.

    Raises:
        ConfigError: it is not there, cannot be run, or has none.
        OSError: it cannot be read.
    """
    try:
        module = _executed(path)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file",
            hint="a contract is a Python file, as `fastrpc contract ADDRESS > services.py` writes it",
        ) from None
    found = [service_definition(one) for one in services_in(module)]
    if not found:
        raise ConfigError(f"{path} has no service", hint="give a file with a class under @service")
    return found


def _executed(path: Path) -> Any:
    """Run a file of Python and return its module."""
    path.stat()
    spec = importlib.util.spec_from_file_location(f"fastrpc_contract_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Annotations are resolved in `sys.modules` by the module's name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return module


def _executed_text(text: str) -> ModuleType:
    """Run the source of a contract that was written here, and return its module."""
    module = ModuleType(f"fastrpc_contract_of_proto_{next(_numbers)}")
    # Annotations are resolved in `sys.modules` by the module's name.
    sys.modules[module.__name__] = module
    exec(compile(text, module.__name__, "exec", dont_inherit=True), vars(module))  # noqa: S102
    return module


def services_in(module: Any) -> list[Any]:
    """Return the classes under `@service` that a module itself defines, and one for the functions of each prefix."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    return _joined(
        [one for one in own if is_function(one) or (inspect.isclass(one) and SERVICE_MARK in vars(one))]
    )


def _joined(services: Sequence[Any]) -> list[Any]:
    """Return these services with a class for the functions of each prefix, after the others."""
    others = [one for one in services if not is_function(one)]
    return [*others, *function_services(one for one in services if is_function(one))]


def _services_of(value: Any) -> list[Any]:
    """Return the services of a module's attribute; of functions, only one that returns an App is run."""
    if inspect.ismodule(value):
        return services_in(value)
    app = app_of(value)
    if app is not None:
        return _services_of(app.sources)
    if isinstance(value, list | tuple):
        return [service for one in _joined(value) for service in _services_of(one)]
    try:
        service_definition(value)
    except TypeError as error:
        raise ConfigError(
            str(error),
            hint="give a class under @service, an instance of one, a list of these, or an App of them",
        ) from None
    return [value]
