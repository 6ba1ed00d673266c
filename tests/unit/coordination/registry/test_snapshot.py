"""The text of a snapshot, and the cost of a damaged one."""

import io
import json

import pytest

from fastrpc import Endpoint, StoreError
from fastrpc.coordination.registry.snapshot import Fault, encode_snapshot, read_snapshot
from fastrpc.registries.base.record import encode_record
from fastrpc.stores.memory import SavedItem


def item(number: int, *, service: str = "arith", **changes: object) -> SavedItem:
    address = f"tcp://10.0.0.1:{number}"
    values: dict[str, object] = {"value": encode_record(Endpoint(address)), "lease": f"{number:016x}"}
    values |= {"folder": service, "key": address, "lease_seconds": 10.0}
    return SavedItem(**(values | changes))  # type: ignore[arg-type]


ITEMS = [item(1), item(2), item(3, value=None), item(4, service="other")]


def text_of(*items: SavedItem) -> bytes:
    return b"".join(encode_snapshot(items))


def read(text: bytes) -> tuple[list[SavedItem], list[Fault]]:
    return read_snapshot(io.BytesIO(text).readline)


def test_snapshot_is_read_as_it_was_written() -> None:
    assert read(text_of(*ITEMS)) == (ITEMS, [])
    assert read(text_of()) == ([], [])


def test_snapshot_is_a_json_document_with_a_line_for_each_record() -> None:
    text = text_of(*ITEMS)
    assert [line[:2] for line in json.loads(text)["records"]] == [[one.folder, one.key] for one in ITEMS]
    assert text.count(b"\n") == len(ITEMS) + 2


def test_large_snapshot_is_written_in_pieces() -> None:
    many = [item(number % 60_000 + 1, service=f"s{number}") for number in range(5_000)]
    pieces = list(encode_snapshot(many))
    assert len(pieces) > 5
    assert max(map(len, pieces)) < 100_000
    assert read(b"".join(pieces)) == (many, [])


LONG = encode_record(Endpoint("tcp://10.0.0.1:2", labels={f"l{n}": "x" * 500 for n in range(20)}))


@pytest.mark.parametrize(
    ("bad", "name", "reason"),
    [
        (item(2, value=b"{}"), "arith at tcp://10.0.0.1:2", "cannot be read"),
        (item(2, value=b'{"v":2}'), "arith at tcp://10.0.0.1:2", "format 2"),
        (item(2, value=LONG), "arith at tcp://10.0.0.1:2", "the limit is 8192"),
        (item(2, key="tcp://10.0.0.1:9"), "arith at tcp://10.0.0.1:9", "belongs to tcp://10.0.0.1:2"),
        (item(2, folder="a b"), "a b at tcp://10.0.0.1:2", "not a service name"),
        (item(2, folder=""), " at tcp://10.0.0.1:2", "not a service name"),
        (item(2, lease="nonsense"), "arith at tcp://10.0.0.1:2", "not a lease"),
        (item(2, lease=None), "arith at tcp://10.0.0.1:2", "not a lease"),
        (item(2, lease="x" * 100_000), "line 3", ""),
        (item(2, lease_seconds=-1.0), "arith at tcp://10.0.0.1:2", "lease_seconds is -1"),
        (item(2, lease_seconds=1e300), "arith at tcp://10.0.0.1:2", "lease_seconds is 1e\\+300"),
        (item(2, value=None, lease_seconds=0.0), "arith at tcp://10.0.0.1:2", "lease_seconds is 0"),
    ],
)
def test_bad_record_costs_itself_only_and_is_named(bad: SavedItem, name: str, reason: str) -> None:
    items, faults = read(text_of(ITEMS[0], bad, ITEMS[2]))
    assert items == [ITEMS[0], ITEMS[2]]
    assert faults[0].name == name
    assert reason.replace("\\", "") in faults[0].reason


@pytest.mark.parametrize(
    "damage",
    [
        b"\x00" * 80,
        b"\xff" * 80,
        b"[" * 100_000,
        b'["arith", 5, null, "", 1]',
        b'["arith"]',
        b"null",
        b"{}",
        b"",
        b",,,",
        b'["arith","tcp://10.0.0.1:2',
    ],
)
def test_damaged_line_costs_itself_only(damage: bytes) -> None:
    lines = text_of(*ITEMS).splitlines(keepends=True)
    lines[2] = damage + b"\n"
    items, faults = read(b"".join(lines))
    assert items == [ITEMS[0], *ITEMS[2:]]
    # A line beyond the limit is read in parts; each part is a separate fault.
    assert len(faults) == (0 if not damage else 1 + len(damage) // 53_248)


@pytest.mark.parametrize("flipped", range(8))
def test_any_flipped_bit_costs_two_records_at_most(flipped: int) -> None:
    text = text_of(*ITEMS)
    begin = text.index(b"\n") + 1
    for place in range(begin, len(text) - 4, 7):
        damaged = bytearray(text)
        damaged[place] ^= 1 << flipped
        items, _ = read(bytes(damaged))
        assert len([one for one in ITEMS if one in items]) >= len(ITEMS) - 2


def test_snapshot_that_ends_early_keeps_the_records_before_its_end() -> None:
    text = text_of(*ITEMS)
    lengths = []
    for end in range(text.index(b"\n") + 1, len(text)):
        items, faults = read(text[:end])
        assert items == ITEMS[: len(items)]
        assert faults
        lengths.append(len(items))
    assert lengths == sorted(lengths)
    assert lengths[-1] == len(ITEMS)


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"{}", b"nonsense", b'{"format": 3, "records": [\n]}\n', b"\xff" * 10**6]
)
def test_files_that_are_not_snapshots_are_refused(text: bytes) -> None:
    with pytest.raises(StoreError, match="does not begin like a snapshot"):
        read(text)
