"""`fastrpc relay`: a relay for servers behind a NAT as a program."""

from functools import partial
from typing import Annotated

import typer

from fastrpc.cli.hosted import HostedAccess, HostedParts, serve_hosted
from fastrpc.cli.hosted_options import HostedOptions, with_hosted_options
from fastrpc.cli.printing import reported
from fastrpc.errors import ConfigError
from fastrpc.relay.server import DEFAULT_RELAY_ADDRESS, check_relay_address, relay_url
from fastrpc.relay.service import RelayService, begun, relay_config
from fastrpc.workers.plan import ExitCode
from fastrpc.workers.serve import addresses_of

__all__ = ["relay"]

RelayName = Annotated[
    str,
    typer.Option(
        "--name", metavar="HOST", help="The host name of the relay. Servers are reached at NAME. before it."
    ),
]


@with_hosted_options(DEFAULT_RELAY_ADDRESS)
def relay(name: RelayName, hosted: HostedOptions) -> None:
    """Run a relay, by which callers reach servers behind a NAT: servers with --address relay://host:port/NAME.

    There is one port: callers connect to it with TLS as NAME.host, and TLS ends at the server. The relay's certificate
    is for servers that claim names.

    With --tokens every server needs one: relay://host:port/NAME?token_file=FILE. With --policy it also needs a right:
    rules have the key relay = ["edge-*"].
    """
    with reported(ExitCode.USAGE):
        for place in addresses_of(hosted.address):
            check_relay_address(place)
        if hosted.tls_cert is None:
            raise ConfigError(
                "--tls-cert is missing", hint="servers that claim names check the relay's certificate"
            )
        if hosted.tokens is None:
            raise ConfigError("--tokens is missing", hint="a name belongs to an identity: give --tokens FILE")
    serve_hosted("relay", hosted, partial(_prepared, name))


def _prepared(name: str, access: HostedAccess) -> HostedParts:
    assert access.tls is not None
    service = RelayService(name, rights=access.rights)
    return HostedParts(
        lambda: service,
        relay_config(access.tls),
        beside=partial(begun, service),
        url_of=partial(relay_url, service.front.name),
    )
