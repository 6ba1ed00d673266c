"""The definition of a workload: the operations, their values, and the curves in which one quantity grows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = [
    "RECORD_ID",
    "RECORD_NAME",
    "RECORD_SCORE",
    "RECORD_TAGS",
    "Curve",
    "ForeignOperation",
    "Operation",
    "StreamOperation",
    "Workload",
]

#: echo: the payload comes back · mul: two integers, typed · record: a typed record comes back ·
#: echo_batch: `batch` echoes as one operation, for engines that have one ·
#: echo_metadata: an echo with a metadata entry, through an interceptor on each side that does nothing ·
#: echo_def: an echo whose handler is a plain function in a thread of a pool ·
#: echo_connections: echoes over `connections` in turn · echo_methods: echoes by `methods` in turn.
CallOperation = Literal[
    "echo", "mul", "record", "echo_batch", "echo_metadata", "echo_def", "echo_connections", "echo_methods"
]

#: server_stream: the server's generator yields messages, the client iterates over them ·
#: server_stream_many: the client takes all that are ready at once, for engines that have such a call ·
#: server_stream_def: the generator is a plain function in a thread ·
#: client_stream: the client's iterator yields messages, the server iterates over them and answers once ·
#: both_ways: the server yields every message that it receives ·
#: client_stream_many, both_ways_many: the client sends hundreds of messages at once, where an engine can ·
#: client_stream_list, both_ways_list: the messages of a stream are a list; one stream follows the other.
StreamOperation = Literal[
    "server_stream",
    "server_stream_many",
    "server_stream_def",
    "client_stream",
    "client_stream_many",
    "client_stream_list",
    "both_ways",
    "both_ways_many",
    "both_ways_list",
]

#: http_record: the typed record as JSON, by POST · http_hello: a text, by GET ·
#: rpcx_mul: two integers in one struct over the wire of rpcx, and over our own for comparison.
ForeignOperation = Literal["http_record", "http_hello", "rpcx_mul"]

Operation = CallOperation | StreamOperation | ForeignOperation

RECORD_ID = 123456789
RECORD_NAME = "the quick brown fox"
RECORD_SCORE = 0.6180339887
RECORD_TAGS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One way to load a peer: the operation, its size, the number in flight."""

    name: str
    title: str
    operation: Operation
    #: Operations that are unanswered at any time: one caller for each. For streams: how many are open.
    in_flight: int
    payload_bytes: int = 0
    #: Calls that are due in a second, in an open loop; 0: a closed loop, in which each caller waits for its answer.
    rate: int = 0
    #: Calls in one operation.
    batch: int = 1
    #: Connections that operations use by turns.
    connections: int = 1
    #: Methods that operations call by turns.
    methods: int = 1
    #: One of this number of operations of a caller is timed, since timing costs the generator some time.
    sample_every: int = 8
    #: An external program that loads every server in place of the peers' own clients; h2load by gRPC, or by a version
    #: of HTTP.
    generator: Literal["h2load", "h2load_http1", "h2load_http2", "wrk"] | None = None
    #: The substitute workload for peers that do not offer this one.
    stand_in: str | None = None
    #: Multiples are of the fastest of this family.
    base_family: str = "grpc.aio"
    #: Shares are of this family.
    limit_family: str = "C echo"
    #: Peers outside the default set that a run without `--peers` takes for this workload.
    also_peers: Sequence[str] = ()
    #: If set, a run without `--peers` takes only these.
    only_peers: Sequence[str] | None = None

    @property
    def payload(self) -> bytes:
        return b"x" * self.payload_bytes

    @property
    def is_stream(self) -> bool:
        """Whether messages of one stream are counted, not calls."""
        return self.operation in get_args(StreamOperation)

    @property
    def expected(self) -> Any:
        """The expected answer of an operation, as plain values; of a stream, each message."""
        match self.operation:
            case "echo_batch":
                return [self.payload] * self.batch
            case "mul" | "rpcx_mul":
                return 42
            case "record":
                return (RECORD_ID, RECORD_NAME, RECORD_SCORE, RECORD_TAGS)
            case _:
                return self.payload


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Workloads that differ in one quantity, on which the cost of a call should not depend."""

    name: str
    title: str
    #: The quantity that grows, for the axis, with its unit.
    axis: str
    #: The quantity and the workload's name, in order.
    points: Mapping[int, str]
    #: Whether it is a number of bytes, which are counted in powers of two.
    in_bytes: bool = False
