"""`fastrpc relay`: a relay for servers behind a NAT as a program."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import typer

from fastrpc.cli.hosted import HostedAccess, HostedOptions, HostedParts, serve_hosted
from fastrpc.cli.listening import (
    AddressesAsJson,
    AdminAddress,
    AdminToken,
    ClientAuthorities,
    LogLevelName,
    PolicyFile,
    ServerCertificate,
    ServerKey,
    TokensFile,
    address_option,
)
from fastrpc.cli.printing import reported
from fastrpc.errors import ConfigError
from fastrpc.relay.server import DEFAULT_RELAY_ADDRESS, check_relay_address, relay_url
from fastrpc.relay.service import RelayService, begun, relay_config
from fastrpc.server.admin.opening import check_admin
from fastrpc.workers.plan import ExitCode
from fastrpc.workers.serve import addresses_of

__all__ = ["relay"]

Addresses = Annotated[list[str] | None, address_option(DEFAULT_RELAY_ADDRESS)]
RelayName = Annotated[
    str,
    typer.Option(
        "--name", metavar="HOST", help="The host name of the relay. Servers are reached at NAME. before it."
    ),
]


def relay(
    name: RelayName,
    address: Addresses = None,
    tls_cert: ServerCertificate = None,
    tls_key: ServerKey = None,
    tls_ca: ClientAuthorities = None,
    tokens: TokensFile = None,
    policy: PolicyFile = None,
    admin_address: AdminAddress = None,
    admin_token: AdminToken = None,
    log_level: LogLevelName = None,
    as_json: AddressesAsJson = False,
) -> None:
    """Run a relay, by which callers reach servers behind a NAT: servers with --address relay://host:port/NAME.

    One port for all: callers connect to it with TLS as NAME.host, and TLS ends at the server. The relay's certificate
    is for servers that claim names.

    With --tokens every server needs one: relay://host:port/NAME?token_file=FILE. With --policy it also needs a right:
    rules have the key relay = ["edge-*"].
    """
    places = address or [DEFAULT_RELAY_ADDRESS]
    with reported(ExitCode.USAGE):
        further = [] if admin_address is None else addresses_of(admin_address)
        for place in addresses_of(places):
            check_relay_address(place)
        if tls_cert is None:
            raise ConfigError(
                "--tls-cert is missing", hint="servers that claim names check the relay's certificate"
            )
        if tokens is None:
            raise ConfigError("--tokens is missing", hint="a name belongs to an identity: give --tokens FILE")

    options = HostedOptions(
        places, tls_cert, tls_key, tls_ca, tokens, policy, log_level, as_json, lambda: further
    )

    admin = {"admin_address": admin_address, "admin_token": admin_token}
    serve_hosted("relay", options, partial(_prepared, name, admin))


def _prepared(name: str, admin: dict[str, Any], access: HostedAccess) -> HostedParts:
    assert access.tls is not None
    service = RelayService(name, rights=access.rights)
    config = replace(relay_config(access.tls), **admin)
    check_admin(config, has_registry=False)
    return HostedParts(
        lambda: service,
        config,
        beside=partial(begun, service),
        url_of=partial(relay_url, service.front.name),
    )
