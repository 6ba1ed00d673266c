"""Contracts read from Python files: their classes under `@service`, and their functions."""

import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.rpc.functions import function_services, is_function
from fastrpc.rpc.service import SERVICE_MARK, service_definition

__all__ = ["executed_file", "services_in", "services_of_file", "with_functions"]


def services_of_file(path: Path) -> list[ServiceDefinition]:
    """Return the services that a file of Python defines.

    Raises:
        ConfigError: the file is missing, cannot be run, or has no contract.
        OSError: the file cannot be read.
    """
    try:
        module = executed_file(path)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file",
            hint="a contract is a Python file, as `fastrpc contract ADDRESS > services.py` writes it",
        ) from None
    found = [service_definition(one) for one in services_in(module)]
    if not found:
        raise ConfigError(f"{path} has no service", hint="give a file with a class under @service")
    return found


def executed_file(path: Path) -> Any:
    """Run a file of Python and return its module.

    Raises:
        ConfigError: the file cannot be run.
        OSError: the file cannot be read.
    """
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


def services_in(module: Any) -> list[Any]:
    """Return the classes under `@service` that a module itself defines, and a class for each prefix of functions."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    return with_functions(
        [one for one in own if is_function(one) or (inspect.isclass(one) and SERVICE_MARK in vars(one))]
    )


def with_functions(services: Sequence[Any]) -> list[Any]:
    """Return these services, followed by a class for the functions of each prefix."""
    others = [one for one in services if not is_function(one)]
    return [*others, *function_services(one for one in services if is_function(one))]
