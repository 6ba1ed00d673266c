"""The settings of a server."""

import os
from dataclasses import field

from fastrpc.assigned_numbers import CODECS
from fastrpc.config.bounds import Admission, Limits, Memory
from fastrpc.config.certificates import TLS
from fastrpc.config.http import HTTP
from fastrpc.config.timing import Keepalive, Timeouts
from fastrpc.config.validation import (
    SERVER_PROTOCOLS,
    Settings,
    check_count,
    check_flag,
    check_name,
    check_names,
    check_networks,
    check_parts,
    check_path,
    check_token,
    settings_class,
    wrong,
)

__all__ = ["ServerConfig"]


@settings_class
class ServerConfig(Settings):
    """The settings of a Server.

    Attributes:
        timeouts: the timeouts of each phase.
        keepalive: the detection of silent peers.
        limits: the limits for one peer.
        memory: budgets in bytes, since limits on the number of messages bound no memory.
        admission: the limits that apply before the server starts to work on a call.
        tls: certificates for `tls://` addresses; None: no certificates. With it, the server listens at `tcp://` on
            loopback only, unless `listen` says `allow_plain=True`.
        protocols: protocols accepted on each port, detected by a connection's first bytes. Each protocol enlarges the
            attack surface.
        http: the HTTP gateway, if `protocols` names "http"; gRPC-Web and Connect also work if it names "grpc".
        codecs: codecs accepted; calls with any other codec are refused before they start.
        reflection: whether callers may list services and signatures; None allows it on loopback and unix addresses
            only.
        expose_errors: whether the text of a handler's unexpected exception is sent to the caller. Helps while
            developing; elsewhere it reveals internals to strangers.
        check_results: whether a result is checked against its annotation before it is sent; a mismatch is INTERNAL,
            logged. Helps while developing; each call pays for decoding its result.
        proxy_protocol: networks of proxies, such as "10.0.0.0/8", whose connections must begin with a PROXY header
            (version 1 or 2): the address in it becomes the peer's address. From other networks a header is refused. Too
            wide a network lets its machines pretend to be any peer.
        admin_address: address that serves the admin pages over HTTP: `/livez`, `/readyz`, `/metrics` and `/`, which
            lists the others; `fd://NAME` is a socket that systemd passed on; None serves no admin pages. Beyond
            loopback all but the first two need `admin_token`.
        admin_token: token for the admin pages, or the path of its file, or "file:" with that path. A file is read again
            after a change.
        admin_operators: file of tokens (TOML, as `StaticTokens.from_file` reads it) whose owners may change the server
            by `POST /act/…`; None: no changes are possible there. These tokens give no access to the pages.
        admin_advertise: address of the admin pages for the label `admin` of the server's records; port 0 stands for the
            bound port. None: the bound address, with the host of the record if it is bound to all interfaces; no label
            if it is on loopback and the record's address is not. False: no label.
        ready_needs_registry: whether `/readyz` fails while a registry does not have the records of the server. With
            True an outage of the registry takes ready servers out of service.
        spin_microseconds: time the loop polls after the last received or sent byte, before it sleeps; 0 sleeps
            immediately. It saves the wake-up, some 40 microseconds, for data that arrives within this time. Too low
            saves nothing, too high burns a whole core for this time after each burst. Ignored, with a warning, on one
            core.
    """

    timeouts: Timeouts = field(default_factory=Timeouts)
    keepalive: Keepalive = field(default_factory=Keepalive)
    limits: Limits = field(default_factory=Limits)
    memory: Memory = field(default_factory=Memory)
    admission: Admission = field(default_factory=Admission)
    tls: TLS | None = None
    protocols: tuple[str, ...] = ("native",)
    http: HTTP = field(default_factory=HTTP)
    codecs: tuple[str, ...] = tuple(CODECS)
    reflection: bool | None = None
    expose_errors: bool = False
    check_results: bool = False
    proxy_protocol: tuple[str, ...] = ()
    admin_address: str | None = None
    admin_token: str | os.PathLike[str] | None = None
    admin_operators: str | os.PathLike[str] | None = None
    admin_advertise: str | bool | None = None
    ready_needs_registry: bool = False
    spin_microseconds: int = 0

    def __post_init__(self) -> None:
        check_parts(self, timeouts=Timeouts, keepalive=Keepalive, limits=Limits, memory=Memory)
        check_parts(self, admission=Admission, tls=TLS, http=HTTP)
        for name in check_names(self, "protocols"):
            if name not in SERVER_PROTOCOLS:
                raise wrong(self, "protocols", f"names out of {tuple(SERVER_PROTOCOLS)}")
        if (self.http.grpc_web or self.http.connect) and not {"http", "grpc"}.intersection(self.protocols):
            raise wrong(self, "protocols", 'with "http" or "grpc", for HTTP.grpc_web and HTTP.connect')
        check_names(self, "codecs")
        if self.reflection is not None:
            check_flag(self, "reflection")
        check_flag(self, "expose_errors")
        check_flag(self, "check_results")
        if self.proxy_protocol != ():
            check_names(self, "proxy_protocol")
            check_networks(self, "proxy_protocol")
        if self.admin_address is not None:
            check_name(self, "admin_address")
        check_token(self, "admin_token")
        check_path(self, "admin_operators")
        if self.admin_advertise is not None and self.admin_advertise is not False:
            check_name(self, "admin_advertise")
        check_flag(self, "ready_needs_registry")
        check_count(self, "spin_microseconds", 0, 1_000_000)
