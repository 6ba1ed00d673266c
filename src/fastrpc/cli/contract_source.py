"""Where `fastrpc contract` reads a contract: from a server's reflection, a module, or a file."""

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

import msgspec

from fastrpc.cli.calling import run_async
from fastrpc.cli.descriptions import SERVICES_METHOD, ServiceDescription, read_descriptions
from fastrpc.cli.import_string import import_from_string
from fastrpc.cli.listing import explained
from fastrpc.client.client import Client
from fastrpc.config import ClientConfig
from fastrpc.errors import ConfigError
from fastrpc.rpc.description import describe
from fastrpc.rpc.service import SERVICE_MARK, service_definition
from fastrpc.server.app import App
from fastrpc.server.builtin import BUILTIN_PREFIX

__all__ = ["read_contracts"]


def read_contracts(source: str, timeout: float, config: ClientConfig) -> list[ServiceDescription]:
    """Return the services of an address, a `.json` or `.py` file, or `module:name`, without fastrpc's own.

    `config` is for addresses.

    Raises:
        ConfigError: it is none of these, or holds no service.
        DecodeError: its description of the services has another form.
        FastRPCError: the server cannot be reached, or its reflection is off.
        OSError: the file cannot be read.
    """
    if "://" in source:
        found = read_descriptions(_asked(source, timeout, config), source)
    elif source.endswith(".json"):
        found = read_descriptions(_decoded(Path(source)), source)
    elif source.endswith(".py"):
        found = _described(_services_in(_executed(Path(source))), source)
    else:
        found = _described(_services_of(import_from_string(source)), source)
    services = [one for one in found if not one.name.startswith(BUILTIN_PREFIX)]
    if not services:
        raise ConfigError(f"{source} has no service", hint="give a class under @service, or a list of them")
    return services


def _asked(address: str, timeout: float, config: ClientConfig) -> Any:
    client = Client(address, config=config)

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
    return read_descriptions([describe(service) for service in services], source)


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


def _services_in(module: Any) -> list[Any]:
    """Return the classes under `@service` that a module itself defines."""
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__ and SERVICE_MARK in vars(value)
    ]


def _services_of(value: Any) -> list[Any]:
    """Return the services of a module's attribute, without running it."""
    if inspect.ismodule(value):
        return _services_in(value)
    if isinstance(value, App):
        return _services_of(value.sources)
    if isinstance(value, list | tuple):
        return [service for one in value for service in _services_of(one)]
    try:
        service_definition(value)
    except TypeError as error:
        raise ConfigError(
            str(error),
            hint="give a class under @service, an instance of one, a list of these, or an App of them",
        ) from None
    return [value]
