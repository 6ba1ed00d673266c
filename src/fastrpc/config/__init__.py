"""Settings as values: frozen dataclasses that check themselves when they are made.

Every duration is in seconds and every size in bytes. `None` means "no limit" and has to be written. A wrong
value raises ConfigError naming the field, the value and what is allowed. Making one touches no file, no
socket and no event loop, so settings can be built before a fork and shared between threads.

    ClientConfig   Timeouts, Keepalive, Limits, Pool, Backoff, TLS; codec and compressor
    ServerConfig   Timeouts, Keepalive, Limits, Memory, Admission, TLS; what is accepted and shown
"""

import os
from dataclasses import field
from typing import Literal

from fastrpc.assigned_numbers import CODECS
from fastrpc.config.resilience import Backoff, Breaker, Outlier, Probes, Retries
from fastrpc.config.validation import (
    SERVER_PROTOCOLS,
    Settings,
    check_choice,
    check_count,
    check_flag,
    check_name,
    check_names,
    check_networks,
    check_number,
    check_parts,
    check_path,
    check_seconds,
    check_tls,
    check_token,
    settings_class,
    wrong,
)
from fastrpc.errors import ConfigError

__all__ = [
    "TLS",
    "Admission",
    "Backoff",
    "Breaker",
    "ClientConfig",
    "Keepalive",
    "Limits",
    "Memory",
    "Outlier",
    "Pool",
    "Probes",
    "Retries",
    "ServerConfig",
    "Timeouts",
]

_KIB = 1024
_MIB = 1024 * _KIB

# A size above this is a mistake in the unit.
_LARGEST_SIZE = 2**40


_WIRE_PROTOCOLS = ("native",)
_EARLY_CALLS = ("idempotent", "all", "none")


@settings_class
class Timeouts(Settings):
    """The timeouts, in seconds; `None` means no limit.

    Attributes:
        connect: time for one attempt to open a connection, name look-up and TLS handshake included. Too low fails on
            slow networks, too high delays the turn of the next address.
        call: time a call may take when neither `with_options(timeout=)` nor `@method(timeout=)` says otherwise. Too
            low fails slow but healthy calls, too high piles callers up behind a stuck server. Not for streams.
        handshake: time for the peer to finish its opening (TLS, preface, settings, authentication). Too low refuses
            distant peers, too high lets unfinished openings hold their slots.
        stream_idle: longest wait for the next message of a stream before the waiting side ends the call; time in the
            consumer's code does not count. Too low ends quiet but wanted streams, none keeps forgotten ones for as long
            as the connection lasts.
        idle: time a connection may be without calls before it is closed; health probes do not count as calls. Too
            low pays for new connections again and again, none keeps unused ones open.
        announce: time between telling registries and peers that this server leaves and refusing new calls. Too low
            refuses calls of clients that have not heard yet, too high makes every restart slower.
        drain: time running calls get to finish when a server leaves; those still running then are cancelled. Too
            low cuts work off, too high delays restarts; none waits for the last call.
        linger: time a closing connection goes on reading until the peer has closed as well. Too low can destroy the
            last answers on their way, too high holds descriptors of silent peers.
    """

    connect: float | None = 1.0
    call: float | None = 5.0
    handshake: float | None = 5.0
    stream_idle: float | None = None
    idle: float | None = None
    announce: float = 0.0
    drain: float | None = 30.0
    linger: float | None = 1.0

    def __post_init__(self) -> None:
        for name in ("connect", "call", "handshake", "stream_idle", "idle"):
            check_seconds(self, name, optional=True)
        check_seconds(self, "announce", zero=True)
        check_seconds(self, "drain", zero=True, optional=True)
        check_seconds(self, "linger", zero=True, optional=True)


@settings_class
class Keepalive(Settings):
    """Detection of silent peers. A peer is dropped after `interval` + `timeout` without a byte from it.

    Attributes:
        interval: silence after which a ping asks for a sign of life; None sends no pings. Too low wakes idle peers
            for nothing, too high notices a vanished peer late.
        timeout: silence after a ping that ends the connection. A handler may block the loop for less than this. Too
            low drops peers that are merely busy, too high lets calls wait for a peer that is gone.
        minimum_interval: shortest distance between pings that this side accepts; it is announced to the peer. Too
            low allows a flood of pings, too high forces peers to notice our loss late.
        max_age: age at which a connection is replaced, give or take 10 %, so that load spreads over new servers. A
            client's takes calls until its successor stands, and goes without one at twice that age. Too low
            reconnects all the time, none leaves long-lived connections where they once landed.
    """

    interval: float | None = 10.0
    timeout: float = 10.0
    minimum_interval: float = 0.5
    max_age: float | None = None

    def __post_init__(self) -> None:
        check_number(self, "interval", 0.01, 86_400, optional=True)
        check_number(self, "timeout", 0.01, 86_400)
        check_number(self, "minimum_interval", 0, 3_600)
        check_seconds(self, "max_age", optional=True)


@settings_class
class Limits(Settings):
    """The limits for one peer; announced when a connection opens.

    Attributes:
        message_bytes: largest message (arguments, result or item of a stream) accepted, after decompression too,
            and sent. Too low refuses honest calls, too high lets one call take this much memory.
        frame_bytes: largest frame accepted; larger messages travel in pieces of at most this size. Too low costs
            throughput of large messages, too high lets them delay small calls.
        metadata_bytes: largest metadata of a call; each entry counts its key, its value and 32. Too low refuses
            long tokens and trace states, too high invites calls that carry data there.
        concurrent_calls: calls, streams included, that may be unanswered on one connection. A client lets more wait
            their turn, a server refuses them. Too low leaves the network idle, too high lets one slow peer hold
            much memory.
        streams: streams open at once on one connection; more than `concurrent_calls` counts as that. Too low
            refuses subscribers, too high lets one peer hold a window of memory for each.
        stream_window_bytes: bytes a stream may send ahead of its reader, before the stream pool lets it grow. Too
            low makes streams wait for the network's delay, too high costs this much for each unread stream.
        connections: connections a server accepts at once. Too low turns clients away, too high runs out of
            descriptors or memory first.
        depth: depth to which payloads may nest containers. Too low refuses deep values, too high lets hostile ones
            use up the stack of decoders.
        longest_call: seconds after which a call that is served ends, streams included, however late its caller's
            deadline is; None leaves it to callers and methods. Built-in services are exempt. Too low ends honest
            work, too high lets callers hold handlers that nobody needs any more.
    """

    message_bytes: int = 16 * _MIB
    frame_bytes: int = 256 * _KIB
    metadata_bytes: int = 8 * _KIB
    concurrent_calls: int = 10_000
    streams: int = 1_000
    stream_window_bytes: int = 64 * _KIB
    connections: int = 10_000
    depth: int = 100
    longest_call: float | None = None

    def __post_init__(self) -> None:
        check_count(self, "message_bytes", 4 * _KIB, _LARGEST_SIZE)
        check_count(self, "frame_bytes", 16 * _KIB, 16 * _MIB)
        check_count(self, "metadata_bytes", 1_024, 65_535)
        check_count(self, "concurrent_calls", 1)
        check_count(self, "streams", 0)
        check_count(self, "stream_window_bytes", 16 * _KIB)
        check_count(self, "connections", 1)
        check_count(self, "depth", 1, 1_024)
        check_seconds(self, "longest_call", optional=True)


@settings_class
class Memory(Settings):
    """Budgets in bytes where counts alone would bound nothing; per connection unless said otherwise.

    `request_bytes` and `send_hard` never count as less than `Limits.message_bytes`, half of `stream_pool` neither:
    raising that limit alone is enough.

    Attributes:
        process_bytes: memory of all connections of a process. At 70 % streams stop growing and new calls of priority 1
            are refused, at 85 % all new calls, at 100 % the largest holder is closed. Too low refuses work the machine
            could do, too high ends in the system's out-of-memory killer.
        request_bytes: requests being received, waiting or decoded; calls of priority 1 use 75 % of it. Too low refuses
            bursts of large requests, too high lets one client hold this much.
        stream_pool: what streams may hold beyond their first windows, shared by the streams of a connection: half of
            it for windows that grow, each to a quarter of the pool, and all that is left for messages larger than
            their window. Too low slows fast streams on long lines, too high lets unread streams hold this much.
        send_soft: unsent bytes above which no further handler starts and streams wait. Too low idles handlers while
            the network catches up, too high answers into a growing queue.
        send_hard: unsent bytes above which a peer that reads nothing for one second is dropped; at least
            `send_soft`. Too low drops peers with a slow line, too high lets a silent one hold this much.
        open_messages: cut messages that may be unfinished at once, in each direction. Too low makes large messages
            wait for each other, too high multiplies their memory.
        items: elements, keys and values that one payload may hold in all its containers. Too low refuses large
            lists, too high lets a small message become a great many objects.
    """

    process_bytes: int = 1024 * _MIB
    request_bytes: int = 64 * _MIB
    stream_pool: int = 32 * _MIB
    send_soft: int = 4 * _MIB
    send_hard: int = 64 * _MIB
    open_messages: int = 4
    items: int = 1_000_000

    def __post_init__(self) -> None:
        for name in ("process_bytes", "request_bytes", "stream_pool", "send_hard"):
            check_count(self, name, 64 * _KIB, _LARGEST_SIZE)
        check_count(self, "send_soft", 4 * _KIB, _LARGEST_SIZE)
        check_count(self, "open_messages", 1, 256)
        check_count(self, "items", 1)
        if self.send_soft > self.send_hard:
            raise ConfigError(
                f"Memory.send_soft is {self.send_soft}, it must be at most send_hard ({self.send_hard})",
                hint="lower send_soft or raise send_hard",
            )


@settings_class
class Admission(Settings):
    """The limits before a server starts to work.

    Attributes:
        handshakes: connections that may be opening at once; above it the one silent for longest is closed, if for
            0.2 s or more. Too low closes slow clients in a rush of new ones, too high lets strangers hold memory
            before they are known.
        queue_length: calls that may wait for a handler; more are refused at once, those of priority 1 first. Too low
            refuses short bursts, too high only fills with calls that expire while they wait.
        queue_age: seconds a call may wait for a handler before it is refused. Too low refuses short bursts, too
            high answers callers that have long given up.
        handler_threads: threads for `def` handlers; they start on demand and end when idle. Too low makes blocking
            handlers wait for each other, too high lets them fight for the interpreter.
    """

    handshakes: int = 256
    queue_length: int = 10_000
    queue_age: float = 1.0
    handler_threads: int = 32

    def __post_init__(self) -> None:
        check_count(self, "handshakes", 1)
        check_count(self, "queue_length", 0)
        check_seconds(self, "queue_age")
        check_count(self, "handler_threads", 1, 10_000)


@settings_class
class Pool(Settings):
    """The connections that a client keeps.

    Attributes:
        connections_per_endpoint: connections to each endpoint, which calls take in turn. One carries many calls at
            once. More help when one worker of the server cannot keep up, and cost memory and handshakes on both
            sides.
        warm: endpoints to which connections are opened before a call needs them, as soon as the client is entered,
            and kept open whatever `Timeouts.idle` says. A `SyncClient`, which does nothing between calls, opens
            them in `ready()` and keeps `Timeouts.idle`. Too low lets the first call to each endpoint wait for its
            handshake, too high keeps connections unused.
        retries: the budget of retries for all calls of the client together.
        breaker: the circuit breaker of each method at each endpoint; None has no breakers.
            The default does not apply to a single fixed address, as there is no other endpoint; other values do.
        outlier: when an endpoint is ejected because it does worse than the others; None ejects none.
        probes: the health checks of endpoints; None sends none. A client with one fixed address sends none either,
            as there is no other endpoint. Not in a `SyncClient`, which does nothing between calls.
    """

    connections_per_endpoint: int = 1
    warm: int = 0
    retries: Retries = field(default_factory=Retries)
    breaker: Breaker | None = field(default_factory=Breaker)
    outlier: Outlier | None = field(default_factory=Outlier)
    probes: Probes | None = None

    def __post_init__(self) -> None:
        check_parts(self, retries=Retries, breaker=Breaker, outlier=Outlier, probes=Probes)
        check_count(self, "connections_per_endpoint", 1, 1_024)
        check_count(self, "warm", 0, 1_000_000)


@settings_class
class TLS(Settings):
    """Certificates as PEM files, for `tls://host:port`. They are read when a server listens or a client connects.

    Attributes:
        cert_file: our certificate chain; a server needs one. Without it a client cannot prove who it is.
        key_file: the key of `cert_file`; None when the same file holds both.
        key_password: the password of an encrypted key; never shown.
        ca_file: the trusted certificate authorities; None takes those of the system. Too many let strangers
            vouch for a peer, a missing one refuses it. A server with it asks clients for a certificate, and refuses
            one that it cannot verify.
        crl_file: certificates that their authorities revoked; a peer whose authority has no list in it is refused.
        require_client_cert: Server: refuse clients without a certificate signed by `ca_file`.
        server_name: Client: the name expected in the server's certificate; None takes the host of the address.
        server_identities: Client: URIs such as `spiffe://corp/orders`, of which the server's certificate has to have
            one, in place of the host name.
    """

    cert_file: str | os.PathLike[str] | None = None
    key_file: str | os.PathLike[str] | None = None
    key_password: str | None = None
    ca_file: str | os.PathLike[str] | None = None
    crl_file: str | os.PathLike[str] | None = None
    require_client_cert: bool = False
    server_name: str | None = None
    server_identities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("cert_file", "key_file", "ca_file", "crl_file"):
            check_path(self, name)
        check_flag(self, "require_client_cert")
        if self.server_name is not None:
            check_name(self, "server_name")
        if self.server_identities != ():
            check_names(self, "server_identities")
        check_tls(self)


@settings_class
class ClientConfig(Settings):
    """The settings of a Client or SyncClient.

    Attributes:
        codec: codec of payloads when the method names none: "msgpack", "json", "protobuf", "raw" or one of your
            own. The server must accept it.
        compressor: compressor of payloads, "gzip", "lz4" or "zstd"; None sends them as they are. It saves network
            and costs time of both processors; answers come back compressed the same way.
        compress_above: payloads of at most this many bytes are never compressed. Too low spends time on messages
            that hardly shrink, too high leaves network unsaved.
        wire_protocol: language spoken on the connection.
        timeouts: the timeouts of each phase.
        keepalive: the detection of silent peers.
        limits: the limits for one peer.
        pool: the connections that the client keeps.
        backoff: the delays before a lost connection is opened again.
        tls: certificates for `tls://` addresses; None trusts the system's authorities there. With it, `tcp://` is
            dialled on loopback only.
        early_calls: which calls may leave before the server answered the opening. "idempotent" saves those a round
            trip, "all" saves it for every call, but a lost one may or may not have run, "none" always waits.
        spin_microseconds: time the loop, or a waiting thread, polls after the last byte came or left; 0 sleeps at
            once. It saves the wake-up, some 40 microseconds, of what comes within this time. Too low saves nothing,
            too high burns a whole core for so long after each burst. Ignored, with a warning, on one core.
        memory: the memory budgets: of streams, and of calls that the client serves (`Client(services=…)`).
        admission: the admission of calls that the client serves.
        allow_insecure_credentials: whether credentials may go over plain TCP beyond loopback, where whoever is between
            can read and use them.
    """

    codec: str = "msgpack"
    compressor: str | None = None
    compress_above: int = 1_024
    wire_protocol: str = "native"
    timeouts: Timeouts = field(default_factory=Timeouts)
    keepalive: Keepalive = field(default_factory=Keepalive)
    limits: Limits = field(default_factory=Limits)
    pool: Pool = field(default_factory=Pool)
    backoff: Backoff = field(default_factory=Backoff)
    tls: TLS | None = None
    early_calls: Literal["idempotent", "all", "none"] = "idempotent"
    spin_microseconds: int = 0
    memory: Memory = field(default_factory=Memory)
    admission: Admission = field(default_factory=Admission)
    allow_insecure_credentials: bool = False

    def __post_init__(self) -> None:
        check_flag(self, "allow_insecure_credentials")
        check_name(self, "codec")
        if self.compressor is not None:
            check_name(self, "compressor")
        check_count(self, "compress_above", 0, _LARGEST_SIZE)
        check_choice(self, "wire_protocol", _WIRE_PROTOCOLS)
        check_parts(self, timeouts=Timeouts, keepalive=Keepalive, limits=Limits, pool=Pool)
        check_parts(self, backoff=Backoff, tls=TLS, memory=Memory, admission=Admission)
        check_choice(self, "early_calls", _EARLY_CALLS)
        check_count(self, "spin_microseconds", 0, 1_000_000)


@settings_class
class ServerConfig(Settings):
    """The settings of a Server.

    Attributes:
        timeouts: the timeouts of each phase.
        keepalive: the detection of silent peers.
        limits: the limits for one peer.
        memory: budgets in bytes where counts alone would bound nothing.
        admission: the limits before the server starts to work.
        tls: certificates for `tls://` addresses; None has none. With it, the server listens at `tcp://` on loopback
            only, unless `listen` says `allow_plain=True`.
        protocols: protocols accepted on each port, detected by a connection's first bytes. Each one more enlarges the
            attack surface.
        codecs: codecs accepted; calls in any other are refused before they start.
        reflection: whether callers may list services and signatures; None allows it on loopback and unix addresses
            only.
        expose_errors: whether the text of a handler's unexpected exception is sent to the caller. Helps while
            developing; elsewhere it reveals internals to strangers.
        check_results: whether a result is checked against its annotation before it is sent; one that does not fit
            is INTERNAL, logged. Helps while developing; each call pays for decoding its result.
        proxy_protocol: networks of proxies, such as "10.0.0.0/8", whose connections must begin with a PROXY header
            (version 1 or 2): the address in it is the peer's. From elsewhere a header is refused. Too wide a network
            lets its machines pretend to be any peer.
        admin_address: address that serves the admin pages over HTTP: `/livez`, `/readyz`, `/metrics` and `/`, which
            lists the others; None serves them nowhere. Beyond loopback all but the first two need `admin_token`.
        admin_token: token for the admin pages, or the path of its file, or "file:" with that path. A file is read again
            once it has changed.
        ready_needs_registry: whether `/readyz` fails while a registry does not have the records of the server. With
            True an outage of the registry takes ready servers out of service.
        spin_microseconds: time the loop polls after the last byte came or left, before it sleeps; 0 sleeps at once.
            It saves the wake-up, some 40 microseconds, of what comes within this time. Too low saves nothing, too
            high burns a whole core for so long after each burst. Ignored, with a warning, on one core.
    """

    timeouts: Timeouts = field(default_factory=Timeouts)
    keepalive: Keepalive = field(default_factory=Keepalive)
    limits: Limits = field(default_factory=Limits)
    memory: Memory = field(default_factory=Memory)
    admission: Admission = field(default_factory=Admission)
    tls: TLS | None = None
    protocols: tuple[str, ...] = ("native",)
    codecs: tuple[str, ...] = tuple(CODECS)
    reflection: bool | None = None
    expose_errors: bool = False
    check_results: bool = False
    proxy_protocol: tuple[str, ...] = ()
    admin_address: str | None = None
    admin_token: str | os.PathLike[str] | None = None
    ready_needs_registry: bool = False
    spin_microseconds: int = 0

    def __post_init__(self) -> None:
        check_parts(self, timeouts=Timeouts, keepalive=Keepalive, limits=Limits, memory=Memory)
        check_parts(self, admission=Admission, tls=TLS)
        for name in check_names(self, "protocols"):
            if name not in SERVER_PROTOCOLS:
                raise wrong(self, "protocols", f"names out of {tuple(SERVER_PROTOCOLS)}")
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
        check_flag(self, "ready_needs_registry")
        check_count(self, "spin_microseconds", 0, 1_000_000)
