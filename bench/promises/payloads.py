"""How long expensive payloads block the loop, and the cost of the check for honest ones."""

import datetime
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgpack
import msgspec

import fastrpc
from fastrpc import CallError
from fastrpc._core.payload.marshal import Marshal
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.service import method_definition

__all__ = [
    "BOMB_BYTES",
    "CROWDED_KEYS",
    "FLOOD_KEYS",
    "HONEST_KEYS",
    "crowded_seconds",
    "flood_ratios",
    "honest_ratios",
    "protobuf_bomb",
]

FLOOD_KEYS = 5_000
HONEST_KEYS = 100_000
#: As many as pass with 64 of each hash.
CROWDED_KEYS = 3_840
BOMB_BYTES = 15_000_000

#: Numbers whose difference is a multiple of this have the same hash.
MODULUS = 2**61 - 1
DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Place:
    """Compared by code of Python."""

    x: Decimal
    y: int


@fastrpc.service("tables")
class Tables:
    """One method for each type of key."""

    @fastrpc.method
    async def numbers(self, table: dict[int, int]) -> None: ...

    @fastrpc.method
    async def decimals(self, table: dict[Decimal, int]) -> None: ...

    @fastrpc.method
    async def pairs(self, table: dict[tuple[Decimal, int], int]) -> None: ...

    @fastrpc.method
    async def places(self, table: dict[Place, int]) -> None: ...

    @fastrpc.method
    async def points(self, table: dict[tuple[int, int], int]) -> None: ...

    @fastrpc.method
    async def days(self, table: dict[datetime.datetime, int]) -> None: ...

    @fastrpc.method
    async def values(self, values: set[Decimal]) -> None: ...

    @fastrpc.method
    async def plain(self, table) -> None: ...  # type: ignore[no-untyped-def]


def flood_ratios() -> dict[str, float]:
    """Return, for keys of one hash in several spellings, their time as a multiple of msgspec's for honest ones."""
    alike = [5 + times * MODULUS for times in range(FLOOD_KEYS)]
    spellings = {"{}": "plain", "+{}": "with a sign", "{}E0": "with an exponent", "{}.0": "with a fraction"}
    ratios = {}
    for spelling, name in spellings.items():
        ratios[f"decimals {name}"] = _ratio(
            Tables.decimals, _map(spelling.format(key) for key in alike), _map(map(str, range(FLOOD_KEYS)))
        )
    ratios["tuples"] = _ratio(
        Tables.pairs, _map((str(key), 1) for key in alike), _map((str(key), 1) for key in range(FLOOD_KEYS))
    )
    ratios["a set"] = _ratio(
        Tables.values,
        msgspec.msgpack.encode([str(key) for key in alike]),
        _array(map(str, range(FLOOD_KEYS))),
    )
    return ratios


def crowded_seconds() -> dict[str, float]:
    """Return the time for the most colliding keys that are accepted: for the check, and in the dict itself."""
    alike = [str(5 + key % (CROWDED_KEYS // 64) + key * MODULUS) for key in range(CROWDED_KEYS)]
    tables: list[tuple[str, Any, Iterable[Any]]] = [
        ("decimals", Tables.decimals, alike),
        ("tuples", Tables.pairs, ((key, 1) for key in alike)),
        ("dataclasses", Tables.places, ({"x": key, "y": 1} for key in alike)),
    ]
    return {name: _decoding_seconds(method, _map(keys)) for name, method, keys in tables}


def _decoding_seconds(method: Any, payload: bytes) -> float:
    """Return how long decoding an argument takes; ∞ if it is refused."""
    marshal = _marshal(method)
    try:
        return _seconds(lambda: marshal.decode_arguments(b"\x91" + payload))
    except CallError:
        return math.inf


def honest_ratios() -> dict[str, float]:
    """Return, for ordinary maps, the time as a multiple of msgspec's time; ∞ if refused."""
    count = HONEST_KEYS
    tables: list[tuple[str, Any, Any, Iterable[Any]]] = [
        ("ints", Tables.numbers, dict[int, int], range(count)),
        ("decimals", Tables.decimals, dict[Decimal, int], (str(Decimal(key) / 100) for key in range(count))),
        (
            "tuples",
            Tables.points,
            dict[tuple[int, int], int],
            ((key // 300, key % 300) for key in range(count)),
        ),
        (
            "aware datetimes",
            Tables.days,
            dict[datetime.datetime, int],
            (DAY + datetime.timedelta(minutes=key) for key in range(count)),
        ),
        ("untyped texts", Tables.plain, Any, map(str, range(count))),
    ]
    return {name: _cost(method, kind, _map(keys)) for name, method, kind, keys in tables}


def protobuf_bomb() -> tuple[float, float]:
    """Return the seconds and the MiB that one payload of empty messages takes, in a separate process."""
    found = subprocess.run([sys.executable, "-m", __spec__.name], check=True, capture_output=True, text=True)
    seconds, mebibytes = map(float, found.stdout.split())
    return seconds, mebibytes


def _cost(method: Any, kind: Any, payload: bytes) -> float:
    """Return the time to decode an argument as a multiple of msgspec's time; ∞ if it is refused."""
    marshal, decoder = _marshal(method), msgspec.msgpack.Decoder(kind)
    try:
        return _seconds(lambda: marshal.decode_arguments(b"\x91" + payload)) / _seconds(
            lambda: decoder.decode(payload)
        )
    except CallError:
        return math.inf


def _marshal(method: Any, codec: str = "msgpack") -> Marshal:
    return marshal_for(method_definition(method), codec, depth=100, items=1_000_000)


def _map(keys: Iterable[Any]) -> bytes:
    encoded = [msgspec.msgpack.encode(key) for key in keys]
    return bytes(msgpack.Packer().pack_map_header(len(encoded))) + b"".join(key + b"\0" for key in encoded)


def _array(values: Iterable[Any]) -> bytes:
    return msgspec.msgpack.encode(list(values))


def _ratio(method: Any, hostile: bytes, honest: bytes) -> float:
    marshal = _marshal(method)

    def refused() -> None:
        try:
            marshal.decode_arguments(b"\x91" + hostile)
        except CallError:
            return

    decoder = msgspec.msgpack.Decoder(*method_definition(method).types().parameters)
    return _seconds(refused) / _seconds(lambda: decoder.decode(honest))


def _seconds(action: Callable[[], Any]) -> float:
    times = []
    for _ in range(3):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return min(times)


def _measure_bomb() -> None:
    """Decode the bomb and print how long it took and how much the process grew."""
    import resource

    from google.protobuf import descriptor_pb2

    kind = descriptor_pb2.FileDescriptorProto

    @fastrpc.service("files")
    class Files:
        @fastrpc.method
        async def take(self, file: kind) -> None: ...  # type: ignore[valid-type]

    marshal = _marshal(Files.take, "protobuf")
    # Field 4, `message_type`, again and again.
    payload = b"\x22\x00" * (BOMB_BYTES // 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def take() -> None:
        try:
            marshal.decode_arguments(payload)
        except CallError:
            return

    print(_seconds(take), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


if __name__ == "__main__":
    _measure_bomb()
