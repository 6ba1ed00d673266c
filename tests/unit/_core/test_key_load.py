"""Numbers as keys of maps: those chosen to make a dict crawl are refused, all others pass."""

import random
import time
import uuid
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastrpc
from fastrpc import CallError, Status
from fastrpc._core.key_load import hash_of_number, hash_of_text
from fastrpc._core.prescan import prescan_payload
from fastrpc.testing import connected
from tests.support.colliding import colliding_numbers

MSGPACK, JSON = 1, 2
COLLIDING = colliding_numbers(14, 6_000, 1_000)


def packed_map(keys: Any) -> bytes:
    """Return a map of these keys, equal ones included, to zeros."""
    packer = msgpack.Packer()
    keys = list(keys)
    return bytes(packer.pack_map_header(len(keys))) + b"".join(packer.pack(key) + b"\0" for key in keys)


def verdict(payload: bytes) -> str:
    return prescan_payload(MSGPACK, payload, max_items=2_000_000)[0]


@given(st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False))
def test_hashes_are_those_of_python(value: float) -> None:
    assert hash_of_number(value) == hash(value)


@pytest.mark.parametrize("value", [-1, -2, 2**61 - 1, 2**61 - 2, 2**61, 1 - 2**61, -(2**63), 2**64 - 1])
def test_hashes_at_the_edges_are_those_of_python(value: int) -> None:
    assert hash_of_number(value) == hash(value)


def test_colliding_numbers_are_refused() -> None:
    assert verdict(packed_map(COLLIDING)) == "colliding keys"
    assert verdict(packed_map([*range(10), *COLLIDING])) == "colliding keys"


def test_it_is_the_collisions_that_are_refused() -> None:
    assert verdict(packed_map(COLLIDING[:6_000])) == "ok"
    assert verdict(packed_map(COLLIDING[6_000:])) == "ok"
    assert verdict(packed_map(f"number {number}" for number in COLLIDING)) == "ok"
    assert verdict(packed_map(str(number).encode() for number in COLLIDING)) == "ok"
    assert verdict(msgspec.msgpack.encode(COLLIDING)) == "ok"


@pytest.mark.parametrize("depth", [1, 5])
def test_they_are_found_wherever_the_map_is(depth: int) -> None:
    payload = packed_map(COLLIDING)
    assert verdict(b"\x92\x01" * depth + payload) == "colliding keys"
    assert verdict(b"\x81\xa1a" * depth + payload) == "colliding keys"


def test_maps_between_the_keys_do_not_hide_them() -> None:
    inner = packed_map(range(10))
    packer = msgpack.Packer()
    keys = b"".join(packer.pack(number) + inner for number in COLLIDING)
    assert verdict(bytes(packer.pack_map_header(len(COLLIDING))) + keys) == "colliding keys"
    harmless = b"".join(packer.pack(number) + inner for number in range(7_000))
    assert verdict(bytes(packer.pack_map_header(7_000)) + harmless) == "ok"


def test_many_maps_are_added_up() -> None:
    small = packed_map(colliding_numbers(10, 400, 200))
    assert verdict(small) == "ok"
    assert verdict(b"\xdd" + (300).to_bytes(4, "big") + small * 300) == "colliding keys"


def test_equal_keys_do_not_collide() -> None:
    assert verdict(packed_map([COLLIDING[-1]] * 10_000)) == "ok"


def test_keys_that_are_made_of_others_are_few() -> None:
    assert verdict(packed_map([number, 0] for number in range(1_000))) == "ok"
    assert verdict(packed_map([number, 0] for number in range(5_000))) == "colliding keys"


def test_a_map_cut_short_in_a_key_is_malformed() -> None:
    payload = packed_map([2**63 + number for number in range(200)])
    assert verdict(payload) == "ok"
    for size in range(len(payload) - 30, len(payload)):
        assert verdict(payload[:size]) == "malformed"


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(range(200_000), id="in a row"),
        pytest.param(range(0, -200_000, -1), id="negative"),
        pytest.param([number**2 for number in range(200_000)], id="squares"),
        pytest.param([number / 100 for number in range(200_000)], id="prices"),
        pytest.param([float(number) for number in range(200_000)], id="whole floats"),
        pytest.param([random.Random(1).getrandbits(64) for _ in range(200_000)], id="random"),
        *(
            pytest.param(range(0, min(200_000 << bits, 1 << 63), 1 << bits), id=f"steps of 2**{bits}")
            for bits in (8, 16, 22, 24, 28, 32, 40, 44, 48, 52)
        ),
        *(
            pytest.param(range(0, 10**5 * 10**digits, 10**digits), id=f"steps of 10**{digits}")
            for digits in (3, 6, 9, 12)
        ),
        pytest.param([float("nan"), float("inf"), float("-inf"), *range(100)], id="no numbers"),
    ],
)
def test_numbers_that_nobody_made_for_it_pass(numbers: Any) -> None:
    assert verdict(packed_map(numbers)) == "ok"


# Text that becomes a number


@given(st.integers(-(10**400), 10**400))
def test_hashes_of_numbers_in_texts_are_those_of_python(value: int) -> None:
    assert hash(value) in hash_of_text(str(value).encode())


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_hashes_of_fractions_in_texts_are_those_of_python(value: float) -> None:
    assert hash_of_text(repr(value).encode()) == [hash(value)]


@pytest.mark.parametrize("position", [0, 8, 13, 18, 23, 35])
@pytest.mark.parametrize("sign", ["g", "G", "/", ":", "@", "`", "_", " ", "\xff"])
def test_text_with_another_sign_in_it_is_no_uuid(position: int, sign: str) -> None:
    text = "abcdef01-2345-6789-abcd-ef0123456789"
    assert len(hash_of_text(text.encode())) == 1
    assert hash_of_text((text[:position] + sign + text[position + 1 :]).encode("latin1")) == []


@given(st.uuids())
def test_hashes_of_uuids_are_those_of_python(value: uuid.UUID) -> None:
    for text in (str(value), str(value).upper(), value.hex):
        assert hash_of_text(text.encode())[0] == hash(value)


@pytest.mark.parametrize(
    "text", ["", "-", "a", "1x", "1 ", " 1", "--1", "1.2.3", "x" * 32, "1" * 31 + "g", "1.5" + "0" * 600]
)
def test_texts_that_are_no_numbers_have_no_such_hash(text: str) -> None:
    assert hash_of_text(text.encode()) == []


def test_escapes_do_not_hide_a_number() -> None:
    assert hash_of_text(rb"\u00312\u0033", is_escaped=True) == [123]
    assert hash_of_text(rb"1\n", is_escaped=True) == []
    assert hash_of_text(rb"\u1231", is_escaped=True) == []
    assert hash_of_text(b"1\\u003", is_escaped=True) == []


def as_json(keys: Any) -> bytes:
    return b"{" + b",".join(b'"%s" : 0' % key for key in keys) + b"}"


@pytest.mark.parametrize(
    "payload",
    [
        as_json(b"%d" % number for number in COLLIDING),
        as_json(b"\\u%04x" % ord(str(number)[0]) + str(number)[1:].encode() for number in COLLIDING),
        as_json(uuid.UUID(int=number).bytes.hex().encode() for number in COLLIDING),
    ],
    ids=["numbers", "escaped", "uuids"],
)
def test_colliding_texts_of_json_are_refused_wherever_they_are(payload: bytes) -> None:
    for whole in (payload, payload[:-1], b'[1,{"a":[' + payload + b"]}]", b'{"a":' + payload):
        assert prescan_payload(JSON, whole, max_items=2_000_000)[0] == "colliding keys"
    values = b"[" + payload[1:-1].replace(b" : 0", b"") + b"]"
    assert prescan_payload(JSON, values, max_items=2_000_000)[0] == "ok"


@pytest.mark.parametrize("form", [str, bytes], ids=["text", "bytes"])
def test_colliding_uuids_of_msgpack_are_refused(form: type) -> None:
    uuids = [uuid.UUID(int=number) for number in COLLIDING]
    keys = [str(each) for each in uuids] if form is str else [each.bytes for each in uuids]
    assert verdict(packed_map(keys)) == "colliding keys"
    assert verdict(packed_map(keys[:6_000])) == "ok"


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
def test_texts_that_nobody_made_for_it_pass(codec: int) -> None:
    encode = msgspec.msgpack.encode if codec == MSGPACK else msgspec.json.encode
    chance = random.Random(1)
    for keys in (
        [str(number) for number in range(100_000)],
        [str(number * 4_194_304) for number in range(100_000)],
        [str(number / 100) for number in range(100_000)],
        [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(100_000)],
        [str(uuid.UUID(int=number)) for number in range(100_000)],
    ):
        assert prescan_payload(codec, encode(dict.fromkeys(keys, 0)))[0] == "ok"


@fastrpc.service("tables")
class Tables:
    @fastrpc.method
    async def typed(self, table: dict[int, int]) -> int:
        return len(table)

    @fastrpc.method
    async def plain(self, table):  # type: ignore[no-untyped-def]
        return len(table)


@pytest.mark.parametrize("method", [Tables.typed, Tables.plain])
@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_a_call_with_such_keys_is_refused_and_the_connection_lives(method: Any, codec: str) -> None:
    async with connected(Tables) as plain:
        client = plain.with_options(codec=codec)
        with pytest.raises(CallError, match="keys of a map collide") as refused:
            await client.call(method, dict.fromkeys(COLLIDING, 0))
        assert (refused.value.status, refused.value.processed) == (Status.INVALID_ARGUMENT, "no")
        assert await client.call(method, dict.fromkeys(range(7_000), 0)) == 7_000


@pytest.mark.measures
def test_what_is_refused_would_take_long_and_its_refusal_does_not() -> None:
    """Should a dict walk otherwise some day, these keys would be nothing special and the count wrong."""

    def seconds_of(action: Any) -> float:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            action()
            times.append(time.perf_counter() - began)
        return min(times)

    hostile = packed_map(colliding_numbers(17, 50_000, 1_000))
    honest = packed_map(range(51_000))
    assert verdict(hostile) == "colliding keys"
    decoding = seconds_of(lambda: msgspec.msgpack.decode(hostile))
    assert decoding > 10 * seconds_of(lambda: msgspec.msgpack.decode(honest))
    assert seconds_of(lambda: verdict(hostile)) < decoding / 2
