"""Fields of gRPC: times, texts, bytes, statuses, and metadata in both directions."""

import base64

import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.grpc.fields import (
    binary_field,
    binary_value,
    message_field,
    message_text,
    metadata_fields,
    metadata_of,
    metadata_size,
    status_of,
    status_of_http,
    status_of_reset,
    timeout_field,
    timeout_ns,
)
from fastrpc._core.http2.hpack import HpackDecoder, HpackEncoder
from fastrpc._core.payload.metadata import decode_metadata, encode_metadata, metadata_pairs
from fastrpc.status import Status
from fastrpc_harness.grpc_parts import encode_metadata_block
from fastrpc_harness.http2_blocks import decode_block, encode_block

SECOND = 10**9
LONGEST = 10**18


def received(*pairs: tuple[bytes, bytes]) -> tuple[dict[str, str | bytes] | None, list[bytes]]:
    """Return the metadata in a header block, reserved keys included, and the entries left out of it."""
    dropped: list[bytes] = []
    block = decode_block(HpackDecoder(65_536), encode_block(HpackEncoder(), pairs))
    metadata = metadata_of(block, dropped)
    return None if metadata is None else decode_metadata(metadata), dropped


@pytest.mark.parametrize(
    ("value", "nanoseconds"),
    [
        (b"250m", SECOND // 4),
        (b"1n", 1),
        (b"0n", 0),
        (b"7u", 7_000),
        (b"99999999S", 99_999_999 * SECOND),
        (b"2M", 120 * SECOND),
        (b"00000001H", 3_600 * SECOND),
        (b"99999999H", LONGEST // (3_600 * SECOND) * 3_600 * SECOND),
    ],
)
def test_a_time_is_read_in_its_unit(value: bytes, nanoseconds: int) -> None:
    assert timeout_ns(value) == nanoseconds


@pytest.mark.parametrize(
    "value", [b"", b"m", b"5", b"123456789m", b"1s", b"1h", b"-1m", b" 1m", b"1 m", b"1.5S", b"1mm", b"1\x00"]
)
def test_a_malformed_time_yields_minus_one(value: bytes) -> None:
    assert timeout_ns(value) == -1


@pytest.mark.parametrize(
    ("nanoseconds", "value"),
    [
        (-5, b"1n"),
        (0, b"1n"),
        (99_999_999, b"99999999n"),
        (100_000_999, b"100000u"),
        (3 * SECOND // 2, b"1500000u"),
        (100 * SECOND, b"100000m"),
        (99_999 * SECOND + 999_999_999, b"99999999m"),
        (10**6 * SECOND, b"1000000S"),
        (2**62, b"76861433M"),
    ],
)
def test_a_time_is_written_in_eight_digits_and_rounded_down(nanoseconds: int, value: bytes) -> None:
    assert timeout_field(nanoseconds) == value


@given(st.integers(1, LONGEST))
def test_no_written_time_is_longer_than_the_time_left(nanoseconds: int) -> None:
    read = timeout_ns(timeout_field(nanoseconds))
    assert nanoseconds * (1 - 1e-5) - 1 < read <= nanoseconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", b""),
        ("not found", b"not found"),
        ("50% off", b"50%25 off"),
        ("caf\u00e9", b"caf%C3%A9"),
        ("line\nend\r\x00", b"line%0Aend%0D%00"),
        (" ends ", b"%20ends%20"),
        ("\t\U0001f600", b"%09%F0%9F%98%80"),
    ],
)
def test_a_message_is_written_in_visible_ascii(text: str, value: bytes) -> None:
    assert message_field(text) == value
    assert message_text(value) == text


def test_half_of_a_pair_of_surrogates_is_replaced() -> None:
    assert message_field("a\ud800b") == b"a?b"


@given(st.text())
def test_each_message_comes_back(text: str) -> None:
    value = message_field(text)
    assert value.isascii()
    assert value.strip() == value
    assert message_text(value) == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"100%", "100%"),
        (b"%2", "%2"),
        (b"%zz%4", "%zz%4"),
        (b"%%41", "%A"),
        (b"%c3%a9", "\u00e9"),
        (b"%FF", "\ufffd"),
        (b"\xff%41", "\ufffdA"),
    ],
)
def test_a_broken_encoding_of_a_message_is_kept(value: bytes, text: str) -> None:
    assert message_text(value) == text


@given(st.binary(max_size=50))
def test_bytes_are_base64_without_padding_and_read_with_it_or_without(value: bytes) -> None:
    padded = base64.b64encode(value)
    assert binary_field(value) == padded.rstrip(b"=")
    assert binary_value(padded) == binary_value(binary_field(value)) == value


@pytest.mark.parametrize(
    "field", [b"A", b"AAAAA", b"AA=", b"AAA==", b"A===", b"AAAA=", b"A-", b"AA A", b"AA\n"]
)
def test_invalid_base64_yields_none(field: bytes) -> None:
    assert binary_value(field) is None


@pytest.mark.parametrize("status", list(Status))
def test_each_status_is_read_by_its_number(status: Status) -> None:
    assert status_of(b"%d" % status) == status


@pytest.mark.parametrize("value", [b"17", b"99", b"100", b"", b"-1", b"x", b"1x"])
def test_another_status_is_unknown(value: bytes) -> None:
    assert status_of(value) == Status.UNKNOWN


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"400", Status.INTERNAL),
        (b"401", Status.UNAUTHENTICATED),
        (b"403", Status.PERMISSION_DENIED),
        (b"404", Status.UNIMPLEMENTED),
        (b"429", Status.UNAVAILABLE),
        (b"502", Status.UNAVAILABLE),
        (b"503", Status.UNAVAILABLE),
        (b"504", Status.UNAVAILABLE),
        (b"200", Status.UNKNOWN),
        (b"500", Status.UNKNOWN),
        (b"x", Status.UNKNOWN),
    ],
)
def test_an_answer_of_http_alone_has_a_status(value: bytes, status: Status) -> None:
    assert status_of_http(value) == status


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        ((0, 1, 2, 3, 4, 6, 9, 10), Status.INTERNAL),
        ((7,), Status.UNAVAILABLE),
        ((8,), Status.CANCELLED),
        ((11,), Status.RESOURCE_EXHAUSTED),
        ((12,), Status.PERMISSION_DENIED),
        ((5, 13, 14, 2**32 - 1), Status.UNKNOWN),
    ],
)
def test_a_reset_stream_has_a_status(codes: tuple[int, ...], status: Status) -> None:
    assert {status_of_reset(code) for code in codes} == {status}


def test_fields_of_a_peer_become_metadata_except_fields_of_the_protocol() -> None:
    entries, dropped = received(
        (b":method", b"POST"),
        (b":path", b"/a/b"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"grpc-timeout", b"1S"),
        (b"grpc-accept-encoding", b"gzip"),
        (b"grpc-tags-bin", b"AA"),
        (b"frpc-outcome", b"1"),
        (b"frpc-other", b"1"),
        (b"user-agent", b"tests"),
        (b"traceparent", b"00-1"),
        (b"x-room", b"garden"),
        (b"x-key-bin", b"AAE="),
    )
    assert entries == {"user-agent": "tests", "traceparent": "00-1", "x-room": "garden", "x-key-bin": b"\0\1"}
    assert dropped == []


def test_the_id_of_a_request_is_the_one_reserved_name_that_counts() -> None:
    dropped: list[bytes] = []
    block = decode_block(HpackDecoder(65_536), encode_block(HpackEncoder(), [(b"frpc-request-id", b"a1")]))
    metadata = metadata_of(block, dropped)
    assert metadata is not None
    assert metadata.endswith(b"frpc-request-ida1")


def test_a_head_without_entries_has_no_metadata() -> None:
    assert received((b":status", b"200"), (b"content-type", b"application/grpc")) == (None, [])


def test_fields_of_one_name_are_joined_in_a_mapping_and_separate_as_pairs() -> None:
    pairs = [(b"x-a", b"1"), (b"x-b-bin", b"AA"), (b"x-a", b"2"), (b"x-b-bin", b"AQ==, Ag"), (b"x-a", b"")]
    entries, _ = received(*pairs)
    assert entries == {"x-a": "1,2,", "x-b-bin": b"\0,\1,\2"}
    block = decode_block(HpackDecoder(65_536), encode_block(HpackEncoder(), pairs))
    metadata = metadata_of(block, [])
    assert metadata is not None
    assert metadata_pairs(metadata) == (
        ("x-a", "1"),
        ("x-b-bin", b"\0"),
        ("x-a", "2"),
        ("x-b-bin", b"\1"),
        ("x-b-bin", b"\2"),
        ("x-a", ""),
    )


def test_an_entry_without_a_native_form_is_left_out() -> None:
    entries, dropped = received(
        (b"x!y", b"1"), (b"x-bad-bin", b"A"), (b"x-latin", b"\xe9"), (b"x" * 256, b"1"), (b"x-good", b"1")
    )
    assert entries == {"x-good": "1"}
    assert dropped == [b"x!y", b"x-bad-bin", b"x-latin", b"x" * 256]


@pytest.mark.parametrize("value", [b"Bearer t\xff", b"Bearer " + b"t" * 300 + b"\xff"])
def test_a_credential_without_a_native_form_stays_one_that_no_token_is(value: bytes) -> None:
    entries, dropped = received((b"authorization", value))
    assert entries is not None
    assert entries["authorization"].startswith("Bearer t")
    assert entries["authorization"].endswith("\ufffd")
    assert dropped == [b"authorization"]


def test_metadata_travels_as_fields() -> None:
    entries = {"x-room": "a garden", "x-key-bin": b"\0\1\xff", "authorization": "Bearer t", "x-empty": ""}
    metadata = encode_metadata(entries)
    block = encode_metadata_block(HpackEncoder(), metadata)
    fields = Decoder().decode(block, raw=True)
    assert [(bytes(name), bytes(value)) for name, value in fields] == [
        (b"x-room", b"a garden"),
        (b"x-key-bin", b"AAH/"),
        (b"authorization", b"Bearer t"),
        (b"x-empty", b""),
    ]
    assert metadata_size(metadata) == sum(len(name) + len(value) + 32 for name, value in fields)
    assert metadata_of(decode_block(HpackDecoder(65_536), block), []) == metadata


def test_credentials_and_bytes_enter_no_table() -> None:
    block = encode_metadata_block(HpackEncoder(), encode_metadata({"authorization": "t", "x-key-bin": b"t"}))
    assert [type(pair).__name__ for pair in Decoder().decode(block)] == ["NeverIndexedHeaderTuple"] * 2


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("grpc-timeout", "1S", "'grpc-timeout' is reserved for gRPC itself"),
        ("grpc-mine", "1", "reserved"),
        ("content-type", "text/html", "reserved"),
        ("te", "gzip", "reserved"),
        ("host", "x", "reserved"),
        ("connection", "close", "reserved"),
        ("x-name", "caf\u00e9", "visible ASCII.*-bin"),
        ("x-name", "a\nb", "visible ASCII"),
        ("x-name", "a\tb", "visible ASCII"),
    ],
)
def test_an_entry_that_cannot_travel_is_refused_by_its_key(key: str, value: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        metadata_size(encode_metadata({"x-fine": "1", key: value}))


@pytest.mark.parametrize(
    ("value", "sent"),
    [(" a", b"a"), ("a ", b"a"), ("\ta b\t ", b"a b"), (" \t", b""), ("", b""), ("a", b"a")],
)
def test_blanks_at_the_ends_of_a_value_are_not_sent(value: str, sent: bytes) -> None:
    metadata = encode_metadata({"x-name": value})
    assert metadata_size(metadata) >= len("x-name") + len(sent) + 32
    assert [field[1:] for field in metadata_fields(metadata)] == [(b"x-name", sent)]


def test_answers_may_have_separate_details() -> None:
    metadata = encode_metadata({"grpc-status-details-bin": b"\x08\x05"})
    assert metadata_size(metadata, True) == len("grpc-status-details-bin") + len("CAU") + 32
    with pytest.raises(ValueError, match="reserved"):
        metadata_size(metadata)
