"""The options that the commands of hosted services share: `fastrpc registry`, `store`, `broker` and `relay`."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_type_hints

import typer

from fastrpc.cli.listening import (
    AddressesAsJson,
    AdminAddress,
    AdminOperators,
    AdminToken,
    ClientAuthorities,
    LogLevelName,
    PolicyFile,
    ServerCertificate,
    ServerKey,
    TokensFile,
    address_option,
)
from fastrpc.errors import ConfigError

__all__ = ["HostedOptions", "Sync", "checked_sync", "data_folder_option", "with_hosted_options"]

#: The option `--sync` of a command with `--data-dir`.
Sync = Annotated[
    str | None,
    typer.Option(
        "--sync", help="full: keep them across a power loss; normal: across a crash only. [default: full]"
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedOptions:
    """The options that all these commands have; each field is an option (`with_hosted_options`)."""

    address: list[str]
    tls_cert: ServerCertificate = None
    tls_key: ServerKey = None
    tls_ca: ClientAuthorities = None
    tokens: TokensFile = None
    policy: PolicyFile = None
    admin_address: AdminAddress = None
    admin_token: AdminToken = None
    admin_operators: AdminOperators = None
    log_level: LogLevelName = None
    as_json: AddressesAsJson = False


def with_hosted_options(default_address: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command these options in place of its parameter `hosted`.

    Args:
        default_address: the address at which it listens without `--address`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: Any) -> None:
            shared = {field.name: given.pop(field.name) for field in fields(HostedOptions)}
            shared["address"] = shared["address"] or [default_address]
            command(hosted=HostedOptions(**shared), **given)

        own = [one for one in inspect.signature(command).parameters.values() if one.name != "hosted"]
        parameters = [*own, *_shared_parameters(default_address)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def data_folder_option(contents: str) -> Any:
    """Return the option `--data-dir` of a command.

    Args:
        contents: a noun for the things that are kept.
    """
    return typer.Option(
        "--data-dir",
        metavar="FOLDER",
        help=f"Keep {contents} in this folder across restarts.",
        file_okay=False,
    )


def checked_sync(sync: str | None, data_dir: Path | None, contents: str) -> Literal["full", "normal"]:
    """Return the value of `--sync`, or its default. The service refuses unknown values.

    Raises:
        ConfigError: the service keeps its contents in memory only.
    """
    if sync is not None and data_dir is None:
        raise ConfigError(
            f"--sync has no effect without --data-dir: {contents} are in memory only",
            hint="give --data-dir FOLDER, or leave --sync out",
        )
    return cast(Literal["full", "normal"], sync or "full")


def _shared_parameters(default_address: str) -> list[Parameter]:
    hints = get_type_hints(HostedOptions, include_extras=True)
    hints["address"] = Annotated[list[str] | None, address_option(default_address)]
    parameters = []
    for field in fields(HostedOptions):
        default = None if field.name == "address" else field.default
        parameters.append(
            Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name])
        )
    return parameters
