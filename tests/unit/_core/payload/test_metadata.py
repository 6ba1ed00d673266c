"""Metadata: text and, under keys that end in `-bin`, bytes; the same in a mapping and on the wire."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.payload.metadata import (
    KEY_CHARACTERS,
    RESERVED_PREFIX,
    BinaryMetadata,
    Metadata,
    MetadataPairs,
    check_entry,
    decode_metadata,
    encode_metadata,
    encode_pairs,
    metadata_pairs,
    split_answer,
)
from fastrpc._core.wire.native import NativeProtocol
from fastrpc_harness.recording import RecordingConnection
from tests.support.engine import engine_settings
from tests.support.frame_factory import opening
from tests.support.wire_layout import Kind
from tests.support.wire_reference import encode_metadata as reference_metadata
from tests.support.wire_settings import Setting


def entries(count: int) -> list[bytes]:
    keys = [b"%05d" % number for number in range(count)]
    return [bytes((len(key), 0, 0, 0)) + key for key in keys]


def is_taken(metadata: bytes) -> bool:
    """Whether a server takes a request with this metadata; else it is refused as malformed."""
    settings = engine_settings(True, {Setting.MAX_METADATA: 65_535})
    connection = RecordingConnection(is_client=False, settings=settings)
    connection.receive_data(opening(False))
    fields = {"kind": Kind.REQUEST, "id": 1, "method": b"arith.mul", "metadata": metadata}
    [event] = connection.receive_data(NativeProtocol().encode(fields))
    assert event[0] == "request" or event == ("refused", 1, 3)
    return bool(event[0] == "request")


@pytest.mark.parametrize("count", [1, 2, 28, 29, 300, 1_771])
def test_different_keys_are_taken(count: int) -> None:
    assert is_taken(b"".join(entries(count)))


@pytest.mark.parametrize("count", [2, 28, 29, 300, 1_770])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_key_twice_is_refused(count: int, place: float) -> None:
    block = entries(count)
    block.append(block[int(place * (count - 1))])

    assert not is_taken(b"".join(block))


def test_a_text_that_is_not_utf_8_is_refused_and_bytes_are_not_read() -> None:
    assert not is_taken(bytes((1, 0, 1, 0)) + b"a\xff")
    assert is_taken(bytes((5, 0, 1, 0)) + b"a-bin\xff")


@pytest.mark.parametrize("key", [b"A", b"a b", b"\xc3\xa9", b"a/b", b"a\x00"])
def test_a_key_of_other_characters_is_refused(key: bytes) -> None:
    assert not is_taken(bytes((len(key), 0, 0, 0)) + key)


@pytest.mark.parametrize(
    "block", [b"\x01\x00\x01", b"\x01\x00\x00\x00", b"\x00\x00\x00\x00", b"\x01\x00\x05\x00a"]
)
def test_a_block_that_ends_inside_an_entry_is_refused(block: bytes) -> None:
    assert not is_taken(block)


keys = st.text(sorted(KEY_CHARACTERS), min_size=1, max_size=10).filter(
    lambda key: not key.startswith(RESERVED_PREFIX)
)
texts = st.tuples(keys.filter(lambda key: not key.endswith("-bin")), st.text(max_size=20))
binaries = st.tuples(keys.map(lambda key: key + "-bin"), st.binary(max_size=20))
mappings = st.lists(texts | binaries, max_size=8).map(dict)


@given(mappings)
def test_entries_are_written_as_the_reference_writes_them_and_come_back(
    entries: dict[str, str | bytes],
) -> None:
    raw = encode_metadata(entries)
    assert decode_metadata(raw) == entries
    assert raw == reference_metadata(
        [
            (key.encode(), value.encode() if isinstance(value, str) else value)
            for key, value in entries.items()
        ]
    )


def test_keys_of_fastrpc_itself_are_left_out() -> None:
    raw = reference_metadata([(b"frpc-trace", b"x"), (b"room", b"garden")])
    assert decode_metadata(raw) == {"room": "garden"}


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("A", "x", "a-z 0-9"),
        ("", "x", "1 to 255"),
        ("k" * 256, "x", "1 to 255"),
        ("frpc-x", "x", "reserved"),
        ("a", b"x", "end the key in -bin"),
        ("a-bin", "x", "because its key ends in -bin"),
        ("a", 1, "takes str, not int"),
        (1, "x", "a metadata key is a str, not int"),
    ],
)
def test_an_invalid_entry_is_refused_by_its_key(key: Any, value: Any, problem: str) -> None:
    for refuse in (
        check_entry,
        lambda key, value: Metadata({key: value}),
        lambda key, value: encode_metadata({key: value}),
    ):
        with pytest.raises((TypeError, ValueError), match=problem):
            refuse(key, value)


def test_a_value_is_at_most_as_long_as_its_length_field_can_state() -> None:
    assert len(encode_metadata({"a": "x" * 65_535})) == 65_535 + 5
    with pytest.raises(ValueError, match=r"'a' has 65536 bytes, at most 65,535 fit"):
        encode_metadata({"a": "x" * 65_536})


def test_a_lone_surrogate_is_refused_by_its_key() -> None:
    with pytest.raises(ValueError, match=r"^metadata 'a' has a lone surrogate"):
        encode_metadata({"a": "x\ud800"})


class TestMetadata:
    def test_as_a_mapping_it_holds_the_text(self) -> None:
        metadata = Metadata({"room": "garden", "shard-bin": b"\x07"})
        assert dict(metadata) == {"room": "garden"}
        assert len(metadata) == 1
        assert "shard-bin" not in metadata
        with pytest.raises(KeyError):
            metadata["shard-bin"]
        metadata["seat"] = "4"
        del metadata["room"]
        assert metadata.entries == {"shard-bin": b"\x07", "seat": "4"}

    def test_the_bytes_are_in_a_mapping_beside_it(self) -> None:
        metadata = Metadata({"room": "garden"})
        assert isinstance(metadata.binary, BinaryMetadata)
        metadata.binary["shard-bin"] = bytearray(b"\x07")
        assert dict(metadata.binary) == {"shard-bin": b"\x07"}
        assert metadata.entries == {"room": "garden", "shard-bin": b"\x07"}
        with pytest.raises(KeyError):
            metadata.binary["room"]
        del metadata.binary["shard-bin"]
        assert len(metadata.binary) == 0

    def test_each_mapping_refuses_the_keys_of_the_other(self) -> None:
        metadata = Metadata()
        with pytest.raises(ValueError, match=r"set it in .binary"):
            metadata["a-bin"] = "x"
        with pytest.raises(ValueError, match="end in -bin"):
            metadata.binary["a"] = b"x"
        with pytest.raises(KeyError):
            del metadata["a-bin"]

    def test_an_update_takes_all_or_nothing(self) -> None:
        metadata = Metadata({"room": "garden"})
        with pytest.raises(TypeError):
            metadata.update({"seat": "4", "shard": b"\x07"})
        assert metadata.entries == {"room": "garden"}
        metadata.update(Metadata({"shard-bin": b"\x07"}), room="hall")
        assert metadata.entries == {"room": "hall", "shard-bin": b"\x07"}

    def test_bytes_are_copied_when_they_are_set(self) -> None:
        value = bytearray(b"\x07")
        metadata = Metadata()
        metadata.binary["a-bin"] = value
        value[0] = 8
        assert metadata.binary["a-bin"] == b"\x07"

    def test_both_mappings_show_their_items(self) -> None:
        metadata = Metadata({"room": "garden", "shard-bin": b"\x07"})
        assert repr(metadata) == "Metadata({'room': 'garden', 'shard-bin': b'\\x07'})"
        assert repr(metadata.binary) == "BinaryMetadata({'shard-bin': b'\\x07'})"


class TestPairs:
    """Metadata of gRPC, in which a key may come several times."""

    pairs = (("room", "garden"), ("seat-bin", b"\x01"), ("room", "hall"), ("seat-bin", b"\x02"))

    def test_keys_are_decoded_in_their_order(self) -> None:
        assert metadata_pairs(encode_pairs(self.pairs)) == self.pairs
        assert metadata_pairs(encode_metadata(MetadataPairs(self.pairs))) == self.pairs

    def test_as_a_mapping_values_of_a_key_are_joined(self) -> None:
        joined = {"room": "garden,hall", "seat-bin": b"\x01,\x02"}
        assert decode_metadata(encode_pairs(self.pairs)) == joined
        assert MetadataPairs(self.pairs).entries == joined

    def test_an_invalid_pair_is_refused(self) -> None:
        for pairs in ([("A", "x")], [("a", b"x")], [("frpc-x", "x")]):
            with pytest.raises((TypeError, ValueError)):
                MetadataPairs(pairs)

    def test_keys_of_fastrpc_itself_are_left_out(self) -> None:
        raw = reference_metadata([(b"frpc-trace", b"x"), (b"room", b"garden")])
        assert metadata_pairs(raw) == (("room", "garden"),)

    def test_head_and_trailers_of_an_answer_are_separate(self) -> None:
        head, trailers = encode_pairs([("room", "garden")]), encode_pairs([("seat", "4"), ("seat", "5")])
        mark = reference_metadata([(b"frpc-trailers", b"")])
        assert split_answer(head + mark + trailers) == (head, trailers)
        assert split_answer(mark + trailers) == (b"", trailers)
        assert split_answer(trailers) == (b"", trailers)
        assert split_answer(None) == (b"", b"")
        assert decode_metadata(head + mark + trailers) == {"room": "garden", "seat": "4,5"}
