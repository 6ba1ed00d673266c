"""Each record of a list is decoded once."""

from fastrpc import Endpoint
from fastrpc.registries.base.backend import Entry
from fastrpc.registries.base.decoded import DecodedRecords


class Counting:
    def __init__(self) -> None:
        self.read: list[tuple[str, str]] = []
        self.decoded = DecodedRecords(self._read)

    def _read(self, key: str, content: str) -> Entry | None:
        self.read.append((key, content))
        return None if content == "gone" else (key, Endpoint(f"tcp://10.0.0.1:{content}"))

    def ports(self, *records: tuple[str, str]) -> list[int]:
        endpoints = [value for _, value in self.decoded.entries(records)]
        return [one.address.port for one in endpoints if isinstance(one, Endpoint)]


def test_record_that_did_not_change_keeps_its_endpoint() -> None:
    one = Counting()
    first = one.decoded.entries([("a", "1"), ("b", "2")])
    second = one.decoded.entries([("a", "1"), ("b", "3")])
    assert second[0][1] is first[0][1]
    assert one.read == [("a", "1"), ("b", "2"), ("b", "3")]


def test_record_that_left_is_forgotten() -> None:
    one = Counting()
    one.ports(("a", "1"))
    one.ports()
    one.ports(("a", "1"))
    assert one.read == [("a", "1")] * 2


def test_records_of_one_key_all_count() -> None:
    assert Counting().ports(("a", "1"), ("a", "2")) == [1, 2]


def test_record_that_is_left_out_is_decoded_once() -> None:
    one = Counting()
    assert one.ports(("a", "gone")) == one.ports(("a", "gone")) == []
    assert len(one.read) == 1
