"""The registry `any://`: one registry of each scope, for servers that listen in all scopes, and for their clients."""

import contextlib
import logging
import os
import secrets
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any
from urllib.parse import quote

from fastrpc.config import TLS
from fastrpc.discovery.lan_pass import LanPass, load_lan_pass
from fastrpc.discovery.network_record import NetworkRecord
from fastrpc.discovery.process import process_table
from fastrpc.discovery.scoped_record import ScopedRecord
from fastrpc.discovery.scopes import (
    CERTIFICATE,
    PROVIDER,
    SCOPE,
    SCOPES,
    SERVER,
    ScopedView,
    listed_scopes,
    provider_name,
    registry_scope,
)
from fastrpc.endpoint import Address, Endpoint, copied
from fastrpc.errors import ConfigError
from fastrpc.registries.base.closing import Closing
from fastrpc.registries.base.held import HeldRecord
from fastrpc.registries.base.registry import RegistryOption, tls_for
from fastrpc.registries.base.scoped import ScopedPlace
from fastrpc.registries.base.urls import RegistryURL, is_opened, open_registry
from fastrpc.registries.base.watch import ServicesWatch, Watch
from fastrpc.registries.host import host_registry
from fastrpc.registries.host.folder import folder_path, made_folder
from fastrpc.registries.lan.multicast import own_hosts
from fastrpc.registries.merged import Merged
from fastrpc.selectors.places import Nearest

__all__ = ["AnyRegistry", "open_any"]

logger = logging.getLogger("fastrpc.registry")


def open_any(url: RegistryURL) -> "AnyRegistry":
    """Open `any://?scopes=…&provider=…`.

    Raises:
        ConfigError: the URL has a place, or names an unknown scope.
    """
    if url.place:
        raise ConfigError(
            f"{url}: any:// takes no place", hint="write any:// for the registry, any://arith for a target"
        )
    scopes: tuple[str, ...] = url.take("scopes", (), listed_scopes)
    provider = url.take("provider", "*", str)
    url.refuse_unread()
    return AnyRegistry(scopes, provider, url.tls, wan=url.farthest)


class AnyRegistry(Closing):
    """A registry over one registry of each scope.

    Args:
        scopes: the scopes to use; empty for all available ones.
        provider: the pattern of the providers whose servers are listed.
        tls: the certificates for the registry of the WAN scope.
        wan: the registry of the WAN scope; None: the registry of `FASTRPC_REGISTRY`, if that is set.
    """

    def __init__(
        self,
        scopes: tuple[str, ...] = (),
        provider: str = "*",
        tls: TLS | None = None,
        *,
        wan: RegistryOption | None = None,
    ) -> None:
        self._provider, self._tls = provider, tls
        wanted = scopes or SCOPES
        wan = wan if wan is not None else _named_registry()
        self._members: dict[str, Any] = {}
        if "process" in wanted:
            self._members["process"] = process_table()
        if "host" in wanted:
            self._members["host"] = host_registry()
        path = os.environ.get("FASTRPC_LAN_PASS")
        self._pass = load_lan_pass(path) if "lan" in wanted and path else None
        if self._pass is not None:
            self._members["lan"] = open_registry(f"lan://?pass={quote(self._pass.path)}")
        elif "lan" in scopes:
            raise ConfigError("any://?scopes=lan needs a LAN pass", hint="set FASTRPC_LAN_PASS to its file")
        if "wan" in wanted and wan is not None:
            self._members["wan"] = open_registry(wan, tls=tls)
        elif "wan" in scopes:
            raise ConfigError(
                "any://?scopes=wan needs a registry",
                hint="set FASTRPC_REGISTRY to its URL; a server may have it as --registry or registry=",
            )
        self._owned = [self._members[scope] for scope in ("host", "lan") if scope in self._members]
        if "wan" in self._members and is_opened(wan):
            self._owned.append(self._members["wan"])
        self._merged = Merged(
            list(self._members.values()), view=partial(ScopedView, tuple(self._members), provider)
        )
        # The value of the label by which two addresses of one server are recognised.
        self._server = secrets.token_hex(8)

    #: The filters of the clients, by which calls go to the nearest scope.
    filters = (Nearest(SCOPE, SCOPES, SERVER),)

    @property
    def encrypts(self) -> bool:
        """Whether connections to a server are encrypted in one of the scopes: in the local network."""
        return self._pass is not None

    @property
    def farthest(self) -> RegistryOption | None:
        """The registry of the WAN scope; None if there is no WAN scope."""
        return self._members.get("wan")

    # Servers

    def places(self, *, is_one_process: bool = True) -> list[ScopedPlace]:
        """Return the addresses at which a new server listens.

        Raises:
            StoreError: the host folder cannot be used.
            ConfigError: there is no scope in which a server can listen, or there is a pattern of providers.
        """
        if self._provider != "*":
            raise ConfigError(
                f"a server at any:// has the option provider={self._provider}, by which clients choose servers",
                hint="leave it out; FASTRPC_PROVIDER names the provider of a server",
            )
        name = secrets.token_hex(8)
        found = []
        if "host" in self._members:
            folder = folder_path()
            made_folder(folder)
            found.append(ScopedPlace("host", Address("unix", path=f"{folder}/{name}.sock")))
        if "process" in self._members and is_one_process:
            found.append(ScopedPlace("process", Address("memory", path=f"any-{name}")))
        if self._pass is not None:
            found.append(self._lan_place(self._pass))
        if not found:
            raise ConfigError(
                f"no server can listen in the scope {', '.join(self._members)}",
                hint="add host to scopes, and give further addresses in addition to any://",
            )
        return found

    def _lan_place(self, lan_pass: LanPass) -> ScopedPlace:
        """Return the address at which to listen on the network, and the address that other machines dial now."""
        hosts = own_hosts()
        if not hosts:
            logger.warning("this machine has no network: the server is in the scope lan once there is one")
        labels = {SCOPE: "lan"}
        tls = None
        if self._tls is None:
            tls = lan_pass.server_tls()
        else:
            # Clients of this server need certificates for it, not the pass.
            labels[CERTIFICATE] = "own"
        listened = Address("tls", host="0.0.0.0", port=0)  # noqa: S104 (the pass closes it)
        dialled = Address("tls", host=hosts[0] if hosts else listened.host, port=0)
        return ScopedPlace("lan", listened, dialled, labels, tls)

    def scope_of(self, endpoint: Endpoint) -> str:
        """Return the scope in which the registry registers an endpoint; "" if it registers the endpoint in no scope."""
        scope = registry_scope(endpoint)
        return scope if scope in self._members else ""

    def register(self, service: str, endpoint: Endpoint) -> AbstractAsyncContextManager[Any]:
        """Return a registration in the registry of the endpoint's scope; without that scope it has no effect.

        Raises:
            ConfigError: the registry cannot hold the endpoint.
        """
        scope = self.scope_of(endpoint)
        member = self._members.get(scope)
        if member is None:
            logger.info("%s: %s is not listed, %r has no registry for it", service, endpoint, self)
            return contextlib.nullcontext()
        record = self._labelled(endpoint)
        register = partial(NetworkRecord, member) if scope == "lan" else member.register
        return ScopedRecord(HeldRecord(partial(register, service), record), self._labelled)

    def _labelled(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint with the labels of this server."""
        labels = {PROVIDER: provider_name(), **endpoint.labels, SERVER: self._server}
        return copied(endpoint, labels=labels)

    # Clients

    @property
    def members(self) -> list[Any]:
        """The registries of the scopes, the nearest first."""
        return list(self._members.values())

    def tls_for(self, endpoint: Endpoint, own: TLS | None) -> TLS | None:
        """Return the certificates for connections of a client to an endpoint.

        Args:
            own: the certificates of the client, for the WAN scope and for servers that show no pass.
        """
        scope = endpoint.labels.get(SCOPE, "")
        if scope == "lan" and endpoint.labels.get(CERTIFICATE) == "own":
            return own
        return tls_for(self._members.get(scope), endpoint, None if scope == "lan" else own)

    def watch(self, service: str) -> Watch:
        """Watch the endpoints of a service in all scopes, each with its label `scope`."""
        return self._merged.watch(service)

    def check_service(self, service: str) -> None:
        """Refuse a name that cannot be watched in every scope.

        Raises:
            ConfigError: the name is invalid.
        """
        self._merged.check_service(service)

    def services(self) -> list[str]:
        """Return the names of the services in all scopes; blocks while their registries answer.

        Raises:
            ConfigError: no registry can list its services.
            StoreError: no registry can be reached now.
        """
        return self._merged.services()

    def watch_services(self) -> ServicesWatch:
        """Watch the names of the services in all scopes."""
        return self._merged.watch_services()

    def remove(self, service: str, address: str | Address) -> bool:
        """Delete the records of an address; blocks while the registries answer.

        Raises:
            ConfigError: the address is invalid, or no registry deletes records.
            StoreError: a registry cannot be reached now, or refuses.
        """
        return self._merged.remove(service, address)

    def close(self) -> None:
        """End all watches, and close the registries that were opened here. Closing twice is fine."""
        self._merged.close()
        for member in self._owned:
            member.close()

    async def aclose(self) -> None:
        """Close without blocking the loop."""
        await self._merged.aclose()
        for member in self._owned:
            await member.aclose()

    def __repr__(self) -> str:
        return f"<registry any:// of {', '.join(self._members)}>"


def _named_registry() -> list[str] | None:
    """Return the registries that `FASTRPC_REGISTRY` lists, separated by blanks; None if it lists only `any://`."""
    urls = os.environ.get("FASTRPC_REGISTRY", "").split()
    return [url for url in urls if not url.lower().startswith("any:")] or None
