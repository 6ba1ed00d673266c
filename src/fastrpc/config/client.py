"""The settings of a client."""

from dataclasses import field
from typing import Literal

from fastrpc.config.bounds import Admission, Limits, Memory
from fastrpc.config.certificates import TLS
from fastrpc.config.resilience import Backoff, Breaker, Outlier, Probes, Retries
from fastrpc.config.timing import Keepalive, Timeouts
from fastrpc.config.validation import (
    LARGEST_SIZE,
    WIRE_PROTOCOLS,
    Settings,
    check_choice,
    check_count,
    check_flag,
    check_name,
    check_parts,
    settings_class,
    wrong,
)

__all__ = ["ClientConfig", "Pool"]

_EARLY_CALLS = ("idempotent", "all", "none")


@settings_class
class Pool(Settings):
    """The connections that a client keeps.

    Attributes:
        connections_per_endpoint: connections to each endpoint, which calls use in turn. One connection carries many
            calls concurrently. More connections help when one worker of the server cannot keep up, and cost memory and
            handshakes on both sides. "auto" begins with one, and adds another when each had more than 16 calls in
            flight for 100 ms, up to the number of the server's workers and at most 8. A client that serves calls always
            has one.
        warm: endpoints to which connections are opened before a call needs them, as soon as the client is entered,
            and kept open whatever `Timeouts.idle` says. A `SyncClient`, which does nothing between calls, opens them in
            `ready()` and closes them after `Timeouts.idle`. Too low lets the first call to each endpoint wait for its
            handshake, too high keeps connections unused.
        retries: the budget of retries for all calls of the client together.
        breaker: the circuit breaker of each method at each endpoint; None: no breakers. The default does not apply to a
            single fixed address, since there is no other endpoint; any other value does.
        outlier: the rule for ejecting an endpoint that performs worse than the others; None ejects no endpoint.
        probes: the health checks of endpoints; None: no probes. A client with one fixed address sends no probes either,
            as there is no other endpoint. Not in a `SyncClient`, which does nothing between calls.
    """

    connections_per_endpoint: int | Literal["auto"] = "auto"
    warm: int = 0
    retries: Retries = field(default_factory=Retries)
    breaker: Breaker | None = field(default_factory=Breaker)
    outlier: Outlier | None = field(default_factory=Outlier)
    probes: Probes | None = None

    def __post_init__(self) -> None:
        check_parts(self, retries=Retries, breaker=Breaker, outlier=Outlier, probes=Probes)
        if isinstance(self.connections_per_endpoint, str) and self.connections_per_endpoint != "auto":
            raise wrong(self, "connections_per_endpoint", 'a whole number from 1 to 1,024, or "auto"')
        if self.connections_per_endpoint != "auto":
            check_count(self, "connections_per_endpoint", 1, 1_024)
        check_count(self, "warm", 0, 1_000_000)


@settings_class
class ClientConfig(Settings):
    """The settings of a Client or SyncClient.

    Attributes:
        codec: codec of payloads when the method names none: "msgpack", "json", "protobuf", "raw" or one of your
            own. The server must accept it.
        compressor: name of the compressor of payloads, such as "zstd"; None sends them as they are. It saves network
            traffic and costs processor time on both sides; answers are compressed in the same way.
        compress_above: payloads of at most this many bytes are never compressed. Too low spends time on messages
            that hardly shrink, too high saves less network traffic.
        wire_protocol: protocol spoken on the connections: "native", "grpc" for servers of gRPC, or "rpcx" or "phobos"
            for servers of Go, without streams and without cancelling calls on the server. None takes the protocol from
            the `protocols` of each endpoint, which a registry lists: the first of these four names that `protocols`
            contains. Protocols that are registered with an engine for clients may be named, too.
        timeouts: the timeouts of each phase.
        keepalive: the detection of silent peers.
        limits: the limits for one peer.
        pool: the connections that the client keeps.
        backoff: the delays before a lost connection is opened again. The first call after an unrequested dial ends the
            delay; if the delay was long, the delays restart.
        tls: certificates for `tls://` addresses; None trusts the system's authorities there. With it, `tcp://` is
            dialled on loopback only.
        early_calls: which calls may be sent before the server has answered the opening, which saves them a round trip.
            "idempotent": calls that are safe to repeat. "all": every call, but a lost call may or may not have run.
            "none": no call.
        spin_microseconds: time the loop, or a waiting thread, polls after the last received or sent byte; 0 sleeps
            immediately. It saves the wake-up, some 40 microseconds, for data that arrives within this time. Too low
            saves nothing, too high burns a whole core for this time after each burst. Ignored, with a warning, on one
            core.
        memory: the memory budgets: of streams, and of calls that the client serves (`Client(services=…)`).
        admission: the admission of calls that the client serves.
        allow_insecure_credentials: whether credentials may be sent over plain TCP beyond loopback, where anyone on the
            path can read and use them.
    """

    codec: str = "msgpack"
    compressor: str | None = None
    compress_above: int = 1_024
    wire_protocol: str | None = None
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
        check_count(self, "compress_above", 0, LARGEST_SIZE)
        check_choice(self, "wire_protocol", (None, *WIRE_PROTOCOLS))
        check_parts(self, timeouts=Timeouts, keepalive=Keepalive, limits=Limits, pool=Pool)
        check_parts(self, backoff=Backoff, tls=TLS, memory=Memory, admission=Admission)
        check_choice(self, "early_calls", _EARLY_CALLS)
        check_count(self, "spin_microseconds", 0, 1_000_000)
