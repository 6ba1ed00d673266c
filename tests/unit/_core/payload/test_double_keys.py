"""Keys that come twice in one map of a payload."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.payload.double_keys import find_double_key

MSGPACK, JSON = 1, 2

VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=20),
    max_leaves=30,
)


@given(VALUES)
def test_maps_of_different_keys_have_no_double_one(value: object) -> None:
    assert find_double_key(MSGPACK, msgspec.msgpack.encode(value)) is None
    assert find_double_key(JSON, json.dumps(value).encode()) is None
    assert find_double_key(JSON, json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")) is None


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b'{"a":1,"a":1}', "a"),
        (b'{"a":1 , "b" : {"c":[{"d":0,"d":1}]}}', "d"),
        (b'[{"a":1},{"a":2}]', None),
        (b'{"a":{"a":{"a":1}}}', None),
        (b'{"a":["a","a"],"b":"a"}', None),
        (b'{"":0,"":1}', ""),
        ('{"ä":0,"ä":1}'.encode(), "ä"),
        (rb'{"a":"\",\"a","b":1}', None),
        (rb'{"a":0,"\u0061":1}', "a"),
        (rb'{"x":{"\n":0,"\u000a":1}}', "\n"),
        (rb'{"\\":0,"\"":1}', None),
        ('{"ä":0,"\\u00E4":1}'.encode(), "ä"),
        ('{"€":0,"\\u20ac":1}'.encode(), "€"),
        ('{"😀":0,"\\ud83d\\uDE00":1}'.encode(), "😀"),
        (rb'{"\ud83d":0,"\ude00":1,"\ud83d\ude00":2,"\ude00\ud83d":3}', None),
        (rb'{"\u0041b\/\b\f\n\r\t":0,"Ab/\u0008\u000c\u000a\u000d\u0009":1}', "Ab/\b\f\n\r\t"),
        (rb'{"\u0000":0,"\u0000":1}', "\0"),
        (rb'{"\u0061":{"\u0061":{"b":0}},"b":{"c":[{"\u0061":1}]}}', None),
    ],
)
def test_a_double_key_of_json_is_found_at_any_depth_with_any_escapes(
    payload: bytes, found: str | None
) -> None:
    assert find_double_key(JSON, payload) == found


@given(st.lists(st.text(min_size=1, max_size=3), min_size=2, max_size=30), st.data())
def test_keys_are_compared_as_the_texts_that_they_mean(keys: list[str], data: st.DataObject) -> None:
    def written(key: str) -> str:
        escaped = data.draw(st.booleans())
        return json.dumps(key) if escaped else json.dumps(key, ensure_ascii=False)

    payload = f"{{{','.join(f'{written(key)}:0' for key in keys)}}}".encode()
    assert (find_double_key(JSON, payload) in keys) is (len(set(keys)) < len(keys))


@pytest.mark.parametrize(
    "other", [b"9" * 5_000, b'"\xff"', b'"\xed\xa0\x80"', b"1e9999", b"-" + b"1" * 5_000]
)
def test_no_part_that_a_decoder_skips_hides_a_double_key(other: bytes) -> None:
    """A decoder skips a member that its type does not have, also one that the json module does not read."""
    assert find_double_key(JSON, b'{"a":1,"\\u0061":2,"other":' + other + b"}") == "a"
    assert find_double_key(JSON, b'{"other":' + other + b',"a":1,"\\u0061":2}') == "a"


@pytest.mark.parametrize(
    "payload", [b'{"a\\', rb'{"\u00', rb'{"\u0061', rb'{"\u0061":1,"\uD83D', rb'{"\q":1,"\uzzzz":2}']
)
def test_wrong_escapes_are_left_to_the_decoder(payload: bytes) -> None:
    assert find_double_key(JSON, payload) is None


@pytest.mark.parametrize("blank", [b" ", b"\n", b"\t ", b" \r\n"])
@pytest.mark.parametrize("count", range(20))
def test_a_double_key_is_found_after_any_number_of_blanks_before_each_mark(count: int, blank: bytes) -> None:
    blanks = (blank * count)[:count]
    tokens = [b"{", b'"kk"', b":", b"1", b",", b'"kk"', b":", b"[", b"2", b"]", b"}"]
    for at in range(len(tokens)):
        assert find_double_key(JSON, b"".join([*tokens[:at], blanks, *tokens[at:]])) == "kk"
    assert find_double_key(JSON, blanks.join(tokens)) == "kk"


@pytest.mark.parametrize("byte", sorted(set(range(256)) - set(b' \t\n\r"{}[],:+-.0123456789aefilnrstuyENI')))
def test_a_byte_that_no_json_has_ends_the_search_and_is_no_json(byte: int) -> None:
    payload = b'{"k":1,' + bytes([byte]) + b'"k":1}'
    assert find_double_key(JSON, payload) is None
    for decode in (json.loads, msgspec.json.decode):
        with pytest.raises(ValueError):
            decode(payload)


@pytest.mark.parametrize("count", [2, 12, 13, 100])
def test_small_and_large_maps_are_looked_through(count: int) -> None:
    keys = [f"key{number}" for number in range(count)]
    for keep in (keys, [*keys, keys[count // 2]]):
        found = find_double_key(JSON, b"{%b}" % ",".join(f'"{key}":0' for key in keep).encode())
        assert found == (None if keep is keys else keys[count // 2])


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b"\x82\xa1a\x01\xa1a\x02", "a"),
        # The same text, and the same number, written in two lengths.
        (b"\x82\xa1a\x01\xd9\x01a\x02", "a"),
        (b"\x82\x07\x01\xcd\x00\x07\x02", "7"),
        (b"\x82\xff\x01\xd1\xff\xff\x02", "-1"),
        # Text and bytes are different keys.
        (b"\x82\xa1a\x01\xc4\x01a\x02", None),
        (b"\x81\xa1x\xde\x00\x02\xa1b\xc0\xa1b\xc0", "b"),
        (b"\x92\x81\xa1a\x01\x81\xa1a\x01", None),
    ],
)
def test_a_double_key_of_msgpack_is_found_in_every_encoding(payload: bytes, found: str | None) -> None:
    assert find_double_key(MSGPACK, payload) == found


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
@pytest.mark.parametrize(
    "payload", [b"", b"}", b'{"a', b"\x82\xa1a\x01\xa1", b"\xc1", b"\xdf\xff\xff\xff\xff", b'"\\']
)
def test_a_malformed_payload_has_no_double_key(codec: int, payload: bytes) -> None:
    assert find_double_key(codec, payload) is None


def test_a_payload_that_is_cut_off_beyond_the_deepest_level_has_no_double_key() -> None:
    assert find_double_key(JSON, b'{"a":' * 5_000) is None
    assert find_double_key(MSGPACK, b"\x81\xa1a" * 5_000) is None


@pytest.mark.parametrize("depth", [1_021, 1_022, 1_023, 1_024, 5_000])
def test_no_part_beyond_the_deepest_level_hides_a_double_key(depth: int) -> None:
    """Since Python 3.12 msgspec skips parts that are deeper than a thousand levels."""
    deep = b'["]",{"a":1,"b":"{"},' * depth + b'"\\"]"' + b"]" * depth
    assert find_double_key(JSON, b'{"a":1,"deep":[' + deep + b',{"c":2}],"c":1,"a":2}') == "a"
    assert find_double_key(JSON, b'{"a":1,"deep":[' + deep + b',{"c":2}],"c":1,"b":2}') is None
    deep = b"\x93\xa1\x81\x82\xa1a\x01\xa1b\xdc\x00\x01\xc0" * depth + b"\xc4\x01\x81"
    assert find_double_key(MSGPACK, b"\x83\xa1a\x01\xa1d\x92" + deep + b"\x81\xa1c\x02\xa1a\x02") == "a"
    assert find_double_key(MSGPACK, b"\x83\xa1a\x01\xa1d\x92" + deep + b"\x81\xa1c\x02\xa1c\x02") is None
