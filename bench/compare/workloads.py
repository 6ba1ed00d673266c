"""What the peers are asked to do: the workloads and their values, the same for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

#: echo: the payload comes back · mul: two integers, typed · record: a typed record comes back ·
#: echo_batch: `batch` echoes as one operation, for engines that have one.
Operation = Literal["echo", "mul", "record", "echo_batch"]

RECORD_ID = 123456789
RECORD_NAME = "the quick brown fox"
RECORD_SCORE = 0.6180339887
RECORD_TAGS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One way to load a peer: what is called, how large, how many at once."""

    name: str
    title: str
    operation: Operation
    #: Operations unanswered at any time: one caller for each.
    in_flight: int
    payload_bytes: int = 0
    #: Calls in one operation.
    batch: int = 1
    #: Every how many operations of a caller one is timed; timing costs the generator something.
    sample_every: int = 8
    #: The workload that stands in where a peer to compare with does not offer this one.
    stand_in: str | None = None

    @property
    def payload(self) -> bytes:
        return b"x" * self.payload_bytes

    @property
    def expected(self) -> Any:
        """What an operation must answer, as plain values."""
        match self.operation:
            case "echo":
                return self.payload
            case "echo_batch":
                return [self.payload] * self.batch
            case "mul":
                return 42
            case "record":
                return (RECORD_ID, RECORD_NAME, RECORD_SCORE, RECORD_TAGS)


WORKLOADS: Mapping[str, Workload] = MappingProxyType(
    {
        workload.name: workload
        for workload in (
            Workload(
                name="W1",
                title="32 B, one in flight",
                operation="echo",
                in_flight=1,
                payload_bytes=32,
                sample_every=1,
            ),
            Workload(
                name="W2",
                title="32 B, 64 in flight",
                operation="echo",
                in_flight=64,
                payload_bytes=32,
            ),
            Workload(
                name="W2x512",
                title="32 B, 512 in flight",
                operation="echo",
                in_flight=512,
                payload_bytes=32,
            ),
            Workload(
                name="mul",
                title="typed mul(int, int), 64 in flight",
                operation="mul",
                in_flight=64,
            ),
            Workload(
                name="W4",
                title="typed record built per call, 64 in flight",
                operation="record",
                in_flight=64,
            ),
            Workload(
                name="W5",
                title="64 KiB, 16 in flight",
                operation="echo",
                in_flight=16,
                payload_bytes=64 * 1024,
            ),
            Workload(
                name="W6",
                title="1 MiB, 4 in flight",
                operation="echo",
                in_flight=4,
                payload_bytes=1024 * 1024,
            ),
            Workload(
                name="many",
                title="32 B, batches of 512 calls",
                operation="echo_batch",
                in_flight=1,
                payload_bytes=32,
                batch=512,
                sample_every=1,
                stand_in="W2",
            ),
        )
    }
)


def plain_record(record: Any) -> tuple[int, str, float, Sequence[str]]:
    """Return the fields of any peer's record as `Workload.expected` has them."""
    return record.id, record.name, record.score, tuple(record.tags)
