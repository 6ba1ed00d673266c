"""Settings of time: timeouts, and the detection of silent peers."""

from fastrpc.config.validation import Settings, check_number, check_seconds, settings_class

__all__ = ["Keepalive", "Timeouts"]


@settings_class
class Timeouts(Settings):
    """The timeouts, in seconds; `None` means no limit.

    Attributes:
        connect: seconds for one attempt to open a connection, name look-up and TLS handshake included. Too low fails on
            slow networks, too high delays the attempt at the next address.
        call: seconds a call may take when neither `with_options(timeout=)` nor `@method(timeout=)` says otherwise. Too
            low fails slow but healthy calls, too high piles callers up behind a stuck server. It does not apply to
            streams, nor to calls by gRPC, rpcx and Phobos, whose callers often state no time.
        handshake: seconds for the peer to finish its opening (TLS, preface, settings, authentication). Too low refuses
            distant peers, too high lets unfinished openings hold their slots.
        stream_idle: most seconds to wait for the next message of a stream before the waiting side ends the call; time
            that the program itself takes to handle or make messages does not count. Too low ends quiet but wanted
            streams; None keeps forgotten streams for as long as the connection lasts.
        idle: seconds a connection may be without calls before it is closed; health probes do not count as calls. Too
            low reconnects again and again; None keeps unused connections open.
        announce: seconds between the notice to registries and peers that this server shuts down, and the refusal of new
            calls. Too low refuses calls of clients that were not notified yet, too high makes every restart slower.
        drain: seconds for running calls to finish when a server shuts down; calls that still run after this time are
            cancelled. Too low cuts work off, too high delays restarts; None waits for the last call.
        linger: seconds for which a closing connection reads on until the peer has closed as well. Too low can destroy
            the last answers on their way, too high holds descriptors of silent peers. 0 closes the connection
            immediately (in HTTP after the last response), None closes it once all output is sent; with either value the
            connection is no longer read.
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
        interval: seconds of silence after which a ping asks for a sign of life; None sends no pings. Too low wakes idle
            peers for nothing, too high notices a vanished peer late. A client of gRPC pings only while a call is under
            way. By default a client of gRPC pings after five minutes, since most servers refuse more frequent pings,
            and half as often once a server complains.
        timeout: seconds of silence after a ping that ends the connection. A handler may block the loop for less than
            this. Too low drops peers that are merely busy, too high lets calls wait for a peer that is gone.
        minimum_interval: fewest seconds between pings that this side accepts; it is announced to the peer. Too
            low allows a flood of pings, too high forces peers to notice the loss of this side late.
        max_age: age in seconds at which a connection is replaced, plus or minus 10 %, so that load spreads over new
            servers. A client's connection accepts calls until its successor is ready; without a successor it closes at
            twice that age. Too low reconnects all the time, None leaves long-lived connections at their first server.
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
