"""Signed datagrams and the instances that send them: valid ones, and for how long."""

import itertools
import logging
from pathlib import Path

import pytest

from fastrpc import ConfigError
from fastrpc.registries.base.record import RecordError
from fastrpc.registries.lan import members
from fastrpc.registries.lan.datagrams import (
    ANNOUNCE,
    DATAGRAM_BYTES,
    GOODBYE,
    NO_NONCE,
    QUERY,
    RECORD_BYTES,
    LanDatagram,
    bodies_of,
    checked_datagram,
    records_of,
    signed_datagram,
)
from fastrpc.registries.lan.keys import add_key, open_keys, read_keys, sign_with_last
from fastrpc.registries.lan.members import CLOCK_SECONDS, KEPT_SECONDS, RECORD_SECONDS, LanMembers
from fastrpc.testing import FakeClock

KEYS = {b"one": b"1" * 32}
ONE, OTHER = b"a" * 16, b"b" * 16
RECORD = ("arith", b'{"v": 1, "address": "tcp://10.0.0.1:80"}')

#: The time of day at the start of each test.
NOON = 1_764_072_000.0


class Network:
    """Members with clocks, and instances that send to them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._begun = self.clock()
        self.members = LanMembers(clock=self.clock, wall_clock=self.now)
        self._sequence = itertools.count(1)

    def now(self) -> float:
        return NOON + self.clock() - self._begun

    def datagram(
        self,
        instance: bytes = ONE,
        kind: int = ANNOUNCE,
        *records: tuple[str, bytes],
        nonce: bytes = NO_NONCE,
        off: float = 0.0,
    ) -> LanDatagram:
        [body] = bodies_of(records or [RECORD])
        milliseconds = int((self.now() + off) * 1000)
        return LanDatagram(kind, milliseconds, instance, next(self._sequence), nonce, body)

    def listed(self) -> list[bytes]:
        return [record for _, record in self.members.records("arith")]


@pytest.fixture
def network() -> Network:
    return Network()


def test_packet_arrives_as_it_was_signed(network: Network) -> None:
    datagram = network.datagram(nonce=b"n" * 16)
    data = signed_datagram(datagram, KEYS)
    assert len(data) <= DATAGRAM_BYTES
    assert checked_datagram(data, KEYS) == datagram
    assert records_of(datagram) == [RECORD]


def test_no_flipped_bit_and_no_cut_is_accepted(network: Network) -> None:
    data = signed_datagram(network.datagram(), KEYS)
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        assert checked_datagram(bytes(flipped), KEYS) is None
    for size in range(len(data)):
        assert checked_datagram(data[:size], KEYS) is None
        assert checked_datagram(data[size + 1 :], KEYS) is None


def test_other_keys_sizes_and_bytes_are_not_accepted(network: Network) -> None:
    data = signed_datagram(network.datagram(), KEYS)
    assert checked_datagram(data, {b"one": b"2" * 32}) is None
    assert checked_datagram(data, {b"two": b"1" * 32}) is None
    long = network.datagram()._replace(body=b"x" * DATAGRAM_BYTES)
    assert checked_datagram(signed_datagram(long, KEYS), KEYS) is None
    assert checked_datagram(b"", KEYS) is None
    assert checked_datagram(b"FRLA\x01\x01" + b"\xff" * 300, KEYS) is None


def test_packet_of_another_instance_needs_a_separate_signature(network: Network) -> None:
    data = signed_datagram(network.datagram(ONE), KEYS)
    assert data.count(ONE) == 1
    assert checked_datagram(data.replace(ONE, OTHER), KEYS) is None


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x91\x01", b"\x91\x91\xa1a", b"\x91" * 900])
def test_signed_body_of_another_shape_changes_nothing(network: Network, body: bytes) -> None:
    with pytest.raises(RecordError):
        network.members.take(network.datagram()._replace(body=body))
    assert network.members.services() == []


def test_records_are_divided_over_packets() -> None:
    records = [("s" * 200, bytes([number]) * (RECORD_BYTES - 200)) for number in range(3)]
    records += [("arith", bytes([number]) * 40) for number in range(30)]
    longest = {b"k" * 32: b"1" * 32}
    found = []
    for body in bodies_of(records):
        data = signed_datagram(LanDatagram(ANNOUNCE, 0, ONE, 1, NO_NONCE, body), longest)
        assert len(data) <= DATAGRAM_BYTES
        datagram = checked_datagram(data, longest)
        assert datagram is not None
        found += records_of(datagram)
    assert found == records


def test_announced_record_is_listed_until_it_is_silent_for_too_long(network: Network) -> None:
    network.members.take(network.datagram())
    assert network.listed() == [RECORD[1]]
    network.clock.advance(RECORD_SECONDS - 1)
    network.members.take(network.datagram())
    network.clock.advance(RECORD_SECONDS - 1)
    network.members.expire()
    assert network.listed() == [RECORD[1]]
    network.clock.advance(1)
    network.members.expire()
    assert network.listed() == []
    assert network.members.services() == []


def test_goodbye_removes_the_records_that_it_names(network: Network) -> None:
    second = ("arith", b"{}")
    network.members.take(network.datagram(ONE, ANNOUNCE, RECORD, second))
    network.members.take(network.datagram(OTHER, ANNOUNCE, RECORD))
    network.members.take(network.datagram(ONE, GOODBYE, RECORD))
    assert sorted(network.listed()) == sorted([second[1], RECORD[1]])


def test_record_of_the_latest_instance_comes_first(network: Network) -> None:
    old, new = (number.to_bytes(6, "big") + b"x" * 10 for number in (1, 2))
    network.members.take(network.datagram(new, ANNOUNCE, ("arith", b"new"), ("arith", b"newest")))
    network.members.take(network.datagram(old, ANNOUNCE, ("arith", b"old")))
    assert network.listed() == [b"newest", b"new", b"old"]


def test_replayed_and_reordered_packets_change_nothing(network: Network) -> None:
    first, second, third = (network.datagram() for _ in range(3))
    goodbye = network.datagram(ONE, GOODBYE)
    network.members.take(second)
    version = network.members.version
    for each in (first, second):
        network.members.take(each)
    assert network.members.version == version
    network.members.take(goodbye)
    for each in (first, second, third, goodbye):
        network.members.take(each)
    assert network.listed() == []


@pytest.mark.parametrize("off", [-CLOCK_SECONDS - 1, CLOCK_SECONDS + 1, -3600.0, 3600.0])
def test_old_and_future_packets_of_unknown_instances_admit_no_instance(network: Network, off: float) -> None:
    network.members.take(network.datagram(off=off))
    assert network.listed() == []
    assert network.members.has_stranger


def test_no_packet_that_is_sent_again_later_is_listed(network: Network) -> None:
    # The clock of its sender is ahead, as far as it may be: the datagram would be admitted for a minute.
    datagram = network.datagram(off=CLOCK_SECONDS)
    network.members.take(datagram)
    seen = 0
    while network.clock() - network._begun < 2 * KEPT_SECONDS:
        network.clock.advance(1)
        network.members.expire()
        network.members.take(datagram)
        seen += bool(network.listed())
    assert seen < RECORD_SECONDS
    assert network.members._instances == {}


@pytest.mark.parametrize("off", [-3600.0, 3600.0])
def test_answer_to_a_query_admits_an_instance_whose_clock_differs(network: Network, off: float) -> None:
    network.members.take(network.datagram(off=off))
    nonce = network.members.query()
    network.members.take(network.datagram(off=off, nonce=b"x" * 16))
    assert network.listed() == []
    network.members.take(network.datagram(off=off, nonce=nonce))
    assert network.listed() == [RECORD[1]]
    network.clock.advance(RECORD_SECONDS - 1)
    network.members.take(network.datagram(off=off))
    network.clock.advance(RECORD_SECONDS - 1)
    network.members.expire()
    assert network.listed() == [RECORD[1]]


def test_query_that_is_sent_again_is_not_answered(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MOST_INSTANCES", 1)
    first, second = network.datagram(kind=QUERY, off=-3600.0), network.datagram(kind=QUERY)
    for query, is_taken in ((first, True), (first, False), (second, True), (first, False), (second, False)):
        assert network.members.takes_query(query) is is_taken
    # A second instance takes the place of the first.
    assert network.members.takes_query(network.datagram(OTHER, QUERY))
    assert list(network.members._asked) == [OTHER]


def test_answer_that_comes_too_late_admits_no_instance(network: Network) -> None:
    nonce = network.members.query()
    network.clock.advance(5)
    network.members.take(network.datagram(off=3600, nonce=nonce))
    assert network.listed() == []


def test_instances_and_records_are_bounded(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MOST_INSTANCES", 10)
    monkeypatch.setattr(members, "MOST_RECORDS", 15)
    for number in range(20):
        records = [("arith", b"%d-%d" % (number, each)) for each in range(2)]
        network.members.take(network.datagram(bytes([number]) * 16, ANNOUNCE, *records))
    assert len(network.listed()) == 15
    network.members.take(network.datagram(bytes(16), GOODBYE, ("arith", b"0-0")))
    network.members.take(network.datagram(bytes([9]) * 16, ANNOUNCE, ("arith", b"9-1")))
    assert len(network.listed()) == 15


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# one\n\n",
        "one",
        "one MTIz",
        f"one {'A' * 43}=\none {'A' * 43}=",
        f"a/b {'A' * 43}=",
        f"{'a' * 33} {'A' * 43}=",
        f"one {'A' * 43}= more",
        "one !!!!",
    ],
)
def test_key_file_with_another_line_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_keys(text)
    assert "AAAA" not in f"{caught.value}{caught.value.hint}"


def test_keys_are_added_at_the_end_and_the_last_is_moved_to_the_front(tmp_path: Path) -> None:
    path = tmp_path / "lan.keys"
    first = add_key(path)
    path.write_text(f"# of the lab\n{path.read_text()}")
    second = add_key(path)
    assert [*read_keys(path.read_text())] == [first.encode(), second.encode()]
    assert path.stat().st_mode & 0o777 == 0o600
    assert sign_with_last(path) == second
    assert [*read_keys(path.read_text())] == [second.encode(), first.encode()]
    assert "# of the lab" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_key_file_that_all_may_read_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "lan.keys"
    add_key(path)
    open_keys(path)
    assert caplog.records == []
    path.chmod(0o644)
    open_keys(path)
    assert [one.levelno for one in caplog.records] == [logging.WARNING]


def test_keys_roll_without_a_packet_that_is_not_accepted(network: Network, tmp_path: Path) -> None:
    """Two machines; one of them is always a step ahead of the other."""
    files = [tmp_path / name for name in ("one.keys", "two.keys")]
    add_key(files[0])
    files[1].write_bytes(files[0].read_bytes())

    def check() -> None:
        keys = [read_keys(path.read_text()) for path in files]
        for sender, receiver in itertools.permutations(keys):
            assert checked_datagram(signed_datagram(network.datagram(), sender), receiver) is not None

    check()
    add_key(files[0])
    check()
    files[1].write_bytes(files[0].read_bytes())
    check()
    for path in files:
        sign_with_last(path)
        check()
    for path in files:
        path.write_text(path.read_text().splitlines()[0] + "\n")
        check()
