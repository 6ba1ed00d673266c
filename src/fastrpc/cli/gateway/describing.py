"""Options of `fastrpc gateway` for the OpenAPI document that it serves."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from fastrpc.config import ServerConfig

__all__ = ["ApiDescription", "ApiTitle", "ApiVersion", "ServerUrls", "described", "descriptions"]

ApiTitle = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="The title of /openapi.json.")]
ApiVersion = Annotated[
    str | None, typer.Option("--api-version", metavar="TEXT", help="The version in /openapi.json.")
]
ApiDescription = Annotated[
    str | None, typer.Option("--description", metavar="TEXT", help="The text about it in /openapi.json.")
]
ServerUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--server-url",
        metavar="URL",
        help="A URL by which callers reach the gateway, for /openapi.json; may be repeated.",
    ),
]


def descriptions(
    title: str | None, version: str | None, description: str | None, servers: Sequence[str] | None
) -> dict[str, Any]:
    """Return the fields of `OpenAPI` that the command line sets."""
    given = {"title": title, "version": version, "description": description}
    found: dict[str, Any] = {name: text for name, text in given.items() if text is not None}
    return {**found, "servers": tuple(servers)} if servers else found


def described(config: ServerConfig, fields: dict[str, Any]) -> ServerConfig:
    """Return settings whose OpenAPI document has these fields."""
    if not fields:
        return config
    return replace(config, http=replace(config.http, openapi=replace(config.http.openapi, **fields)))
