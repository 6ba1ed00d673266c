"""Results of own services that are encoded once, and values of users that are not."""

from dataclasses import dataclass
from typing import Any

import pytest

from fastrpc.coordination.registry.service import RegistryService
from fastrpc.coordination.registry.service_lists import ServiceList
from fastrpc.coordination.remote.service import ChangeBatch, StoreService
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.service import service_definition
from fastrpc.rpc.shared_results import SharedResult, encoded_once


@dataclass(frozen=True, slots=True)
class Shared(SharedResult):
    number: int


class Counted:
    """Counts its encodings."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, value: Any) -> bytes:
        self.count += 1
        return repr(value).encode()


def test_shared_result_is_encoded_once_by_each_encoder() -> None:
    encoders = Counted(), Counted()
    value = Shared(1)
    for encode in encoders:
        once = encoded_once(encode, Shared)
        assert once(value) is once(value)
        assert once(value) == b"Shared(number=1)"
        assert once(Shared(2)) == b"Shared(number=2)"
    assert [encode.count for encode in encoders] == [2, 2]


def test_value_of_an_interceptor_is_encoded_each_time() -> None:
    encode = Counted()
    once = encoded_once(encode, Shared)
    assert once(7) == once(7) == b"7"
    assert encode.count == 2


@pytest.mark.parametrize("kind", [int, list[Shared], Any, None, Shared | None])
def test_other_types_keep_their_encoder(kind: Any) -> None:
    encode = Counted()
    assert encoded_once(encode, kind) is encode


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("service", "method", "value"),
    [
        (RegistryService, "watch", ServiceList("a.1", ["{}"])),
        (RegistryService, "follow", ServiceList("a.2", ["{}"])),
        (StoreService, "changes", ChangeBatch([], 3)),
        (StoreService, "watch", ChangeBatch([], 4)),
    ],
)
def test_lists_and_changes_are_shared_in_each_codec(
    service: type, method: str, value: SharedResult, codec: str
) -> None:
    definition = service_definition(service).methods[method]
    marshal = marshal_for(definition, codec, depth=100, items=1000)
    payload = marshal.encode_result(value)
    assert marshal.encode_result(value) is payload
    assert marshal.decode_result(payload) == value
