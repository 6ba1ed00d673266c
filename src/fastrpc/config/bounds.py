"""Settings of size: the limits for one peer, the memory budgets, the admission of calls."""

from fastrpc.config.validation import LARGEST_SIZE, Settings, check_count, check_seconds, settings_class
from fastrpc.errors import ConfigError

__all__ = ["Admission", "Limits", "Memory"]

_KIB = 1024
_MIB = 1024 * _KIB


@settings_class
class Limits(Settings):
    """The limits for one peer; announced when a connection opens.

    Attributes:
        message_bytes: largest message (arguments, result or item of a stream) accepted, after decompression too,
            and sent. Too low refuses honest calls, too high lets one call take this much memory.
        frame_bytes: largest frame accepted; larger messages are cut into pieces of at most this size. Too low costs
            throughput of large messages, too high lets them delay small calls.
        metadata_bytes: largest metadata of a call; each entry counts its key, its value and 32. Too low refuses
            long tokens and trace states, too high invites calls that carry data there.
        concurrent_calls: calls, streams included, that may be unanswered on one connection. A client queues further
            calls, a server refuses them. Too low leaves the network idle, too high lets one slow peer hold much memory.
        streams: streams open at the same time on one connection, at most `concurrent_calls`. Too low refuses
            subscribers, too high lets one peer hold a window of memory for each.
        stream_window_bytes: bytes a stream may send ahead of its reader, before the stream pool lets it grow; a
            message over HTTP counts 64 more. Too low makes streams wait for the network's delay, too high costs this
            much for each unread stream.
        connections: connections that a server has at the same time. Too low turns clients away, too high runs out of
            descriptors or memory first.
        depth: depth to which payloads may nest containers. Too low refuses deep values, too high lets hostile ones
            use up the stack of decoders.
        longest_call: seconds after which a served call is ended, streams included, even before its caller's deadline;
            None leaves the limit to callers and methods. Built-in services are exempt. Too low ends honest work, too
            high lets callers occupy handlers whose results are no longer needed.
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

    @property
    def _sent_bytes(self) -> int:
        """The size of the largest message that is sent. Subclasses in `fastrpc.grpc` return another limit."""
        return self.message_bytes

    def __post_init__(self) -> None:
        check_count(self, "message_bytes", 4 * _KIB, LARGEST_SIZE)
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
    """Budgets in bytes, since limits on the number of messages bound no memory; per connection unless stated otherwise.

    `request_bytes`, `send_hard` and half of `stream_pool` count as at least `Limits.message_bytes`: to accept longer
    messages, raising that limit is enough.

    Attributes:
        process_bytes: memory of all connections of a process; decompressions take at most a quarter of it. At 70 %
            streams stop growing and new calls of priority 1 are refused; at 85 % all new calls are refused; at 100 %
            the connection that holds most memory is closed. An answer above 1 KiB that would pass 100 % is dropped, and
            its caller gets an error; streams wait. Too low refuses work the machine could do, too high ends in the
            system's out-of-memory killer.
        request_bytes: requests being received, waiting or decoded; calls of priority 1 use 75 % of it. Too low refuses
            bursts of large requests, too high lets one client hold this much.
        stream_pool: bytes that streams may hold beyond their first windows, shared by the streams of a connection. Half
            of it is for windows that grow, each to a quarter of the pool at most; the rest is for messages larger than
            their window. Too low slows fast streams on long lines, too high lets unread streams hold this much.
        send_soft: unsent bytes above which no further handler starts and streams wait. Too low idles handlers while
            the network catches up, too high answers into a growing queue.
        send_hard: unsent bytes above which a peer of the native protocol that reads nothing for one second is dropped.
            By HTTP/2, messages that are partly sent, or wait for the window of their stream, count towards `send_hard`
            instead of `send_soft`: above it no further handler starts. At least `send_soft`. HTTP peers that read
            nothing are dropped after `HTTPLimits.body_idle_seconds`, rpcx peers after the sum of `Keepalive.interval`
            and `timeout`. Too low drops peers with a slow line, too high lets a silent one hold this much.
        open_messages: messages cut into frames that may be unfinished at the same time, in each direction. Too low
            makes large messages wait for each other, too high multiplies their memory.
        items: elements, keys and values that one payload may hold in all its containers. Too low refuses large lists,
            too high lets a small message decode to a great many objects.
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
            check_count(self, name, 64 * _KIB, LARGEST_SIZE)
        check_count(self, "send_soft", 4 * _KIB, LARGEST_SIZE)
        check_count(self, "open_messages", 1, 256)
        check_count(self, "items", 1)
        if self.send_soft > self.send_hard:
            raise ConfigError(
                f"Memory.send_soft is {self.send_soft}, it must be at most send_hard ({self.send_hard})",
                hint="lower send_soft or raise send_hard",
            )


@settings_class
class Admission(Settings):
    """The limits that apply before a server starts to work on a call.

    Attributes:
        handshakes: connections that may be in their handshake at the same time; above this number the connection that
            was silent for longest is closed, if it was silent for 0.2 s or more. Too low closes slow clients in a rush
            of new ones, too high lets strangers hold memory before they authenticate.
        queue_length: calls that may wait for a handler; further calls are refused immediately, priority 1 first. Too
            low refuses short bursts, too high only fills with calls that expire while they wait.
        queue_age: seconds a call may wait for a handler before it is refused; time unread in the socket counts. Too
            low refuses short bursts, too high answers callers that have long given up.
        handler_threads: threads for `def` handlers; they start on demand and end when idle. Too low makes blocking
            handlers wait for each other, too high lets them compete for the interpreter.
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
