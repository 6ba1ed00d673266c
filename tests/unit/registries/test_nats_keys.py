"""The keys of a bucket of NATS, as its messages tell them."""

from dataclasses import dataclass

import pytest

pytest.importorskip("nats", reason="nats-py is not installed")

from fastrpc.registries.nats.keys import _encoded, _Keys


@dataclass
class Entry:
    """A message about a key."""

    key: str
    operation: str | None = None
    value: bytes = b"record"


def entry(service: str, port: int, operation: str | None = None) -> Entry:
    return Entry(f"{_encoded(service)}.{_encoded(f'tcp://10.0.0.1:{port}')}", operation)


def told(keys: _Keys, *entries: Entry) -> list[str | None]:
    return [keys.apply(one) for one in entries]  # type: ignore[arg-type]


def test_nothing_is_kept_of_services_that_have_ended() -> None:
    keys = _Keys(lambda: 0.0)
    assert told(keys, entry("a", 1), entry("a", 2), entry("a", 1, "DEL")) == ["a", "a", "a"]
    assert keys.records("a") == [("tcp://10.0.0.1:2", b"record")]
    assert told(keys, entry("a", 2, "DEL"), entry("a", 2, "DEL"), entry("b", 1, "PURGE")) == ["a", None, None]
    assert keys.records("a") == []
    assert not keys._records
    assert told(keys, entry("a", 3)) == ["a"]
    assert keys.records("a") == [("tcp://10.0.0.1:3", b"record")]


def test_nothing_is_kept_of_a_service_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrpc.registries.nats.keys.MOST_KEYS", 1)
    keys = _Keys(lambda: 0.0)
    assert told(keys, entry("a", 1), entry("b", 1)) == ["a", None]
    assert list(keys._records) == ["a"]
