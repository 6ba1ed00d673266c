"""SETTINGS: the announcement of a side, the floor before it, and refusals by name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.wire.settings import (
    AGENT_LIMIT,
    AUTH_SCHEMES_LIMIT,
    LIST_LIMIT,
    NUMBERS,
    WireNumbers,
    WireSettings,
    decode_settings,
    usual_settings,
)
from tests.support import wire_settings
from tests.support.wire_layout import WireError
from tests.support.wire_settings import Setting

sides = pytest.mark.parametrize("of_server", [True, False], ids=["server", "client"])


def entry(name: int, value: bytes) -> bytes:
    return name.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value


@sides
def test_a_new_one_holds_the_floor(of_server: bool) -> None:
    floor = wire_settings.floor(of_server)
    settings = WireSettings(of_server)
    numbers = floor.keys() & NUMBERS.keys()
    assert {name: getattr(settings, NUMBERS[name][0]) for name in numbers} == {
        name: floor[name] for name in numbers
    }
    assert settings.codecs == {number: text.decode() for number, text in floor[Setting.CODECS]}


@sides
def test_default_settings_are_read_back(of_server: bool) -> None:
    settings = usual_settings(of_server)
    # A single worker is not announced.
    found = {Setting.WORKERS: 1} | dict(decode_settings(settings.encode()))
    assert {name: found[name] for name in NUMBERS} == {
        name: getattr(settings, NUMBERS[name][0]) for name in NUMBERS
    }
    assert dict(found[Setting.CODECS]) == {number: text.encode() for number, text in settings.codecs.items()}


@sides
def test_a_copy_is_equal_and_separate(of_server: bool) -> None:
    settings = usual_settings(of_server)
    copy = settings.copy()
    assert copy.encode() == settings.encode()
    copy.max_message = 5_000
    assert settings.max_message == 16_777_216


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_taken_from_the_lowest_to_the_highest_value(name: int) -> None:
    _, layout, lowest, highest = NUMBERS[name]
    size = {"<H": 2, "<I": 4, "<Q": 8}[layout]
    for value in (lowest, highest):
        assert decode_settings(entry(name, value.to_bytes(size, "little"))) == ((name, value),)
    for value in (lowest - 1, highest + 1):
        if 0 <= value < 2 ** (8 * size):
            with pytest.raises(
                ValueError, match=f"setting {name} is {value}, allowed is {lowest} to {highest}"
            ):
                decode_settings(entry(name, value.to_bytes(size, "little")))
    with pytest.raises(ValueError, match=f"it takes {size}"):
        decode_settings(entry(name, bytes(size + 1)))


def test_no_more_entries_are_taken_than_a_list_may_have() -> None:
    def codecs(count: int) -> bytes:
        return entry(Setting.CODECS, b"".join(bytes((number, 1)) + b"x" for number in range(count)))

    assert len(decode_settings(codecs(LIST_LIMIT))[0][1]) == LIST_LIMIT
    with pytest.raises(ValueError, match=f"{LIST_LIMIT + 1} entries, {LIST_LIMIT} are allowed"):
        decode_settings(codecs(LIST_LIMIT + 1))
    schemes = b"\x01x" * (AUTH_SCHEMES_LIMIT + 1)
    assert decode_settings(entry(Setting.AUTH_SCHEMES, schemes[:-2]))[0][1] == (b"x",) * AUTH_SCHEMES_LIMIT
    with pytest.raises(ValueError, match="AUTH_SCHEMES has 9 entries, 8 are allowed"):
        decode_settings(entry(Setting.AUTH_SCHEMES, schemes))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"\x01\x00\x04", "ends inside an entry at byte 0"),
        (b"\x01\x00\x04\x00ab", "setting 1 announces 4 bytes, 2 are left"),
        (entry(12, bytes(8)) * 2, "setting 12 comes twice"),
        (entry(0x8000 | 99, b""), "critical setting 99 is unknown"),
        (entry(Setting.COMPRESSORS, b"\x00\x01x"), "id 0 twice, or must not name it"),
        (entry(Setting.CODECS, b"\x05\x01x\x05\x01y"), "id 5 twice"),
        (entry(Setting.CODECS, b"\x05\x04abc"), "ends inside one"),
        (entry(Setting.CODECS, b"\x05\x00"), "not 1 to 32"),
        (entry(Setting.CODECS, b"\x05\x03A b"), "not 1 to 32"),
        (entry(Setting.CODECS, b"\x05"), "ends inside one"),
        (entry(Setting.AGENT, b"\xff"), "AGENT is not UTF-8"),
        (entry(Setting.AGENT, b"x" * (AGENT_LIMIT + 1)), "AGENT has 65 bytes, 64 are allowed"),
    ],
)
def test_a_broken_body_is_refused_by_its_defect(body: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode_settings(body)


def test_unknown_settings_are_skipped() -> None:
    assert decode_settings(entry(99, b"later") + entry(Setting.AGENT, b"me")) == ((Setting.AGENT, "me"),)


def test_the_window_of_streams_may_only_come_first() -> None:
    settings = usual_settings(True)
    assert Setting.STREAM_WINDOW in dict(decode_settings(settings.encode()))
    later = settings.encode(first=False)
    assert Setting.STREAM_WINDOW not in dict(decode_settings(later, first=False))
    with pytest.raises(ValueError, match="STREAM_WINDOW may only come in the first SETTINGS"):
        decode_settings(settings.encode(), first=False)


def test_a_long_agent_is_cut_between_characters() -> None:
    settings = usual_settings(False)
    settings.agent = "é" * 40
    assert dict(decode_settings(settings.encode()))[Setting.AGENT] == "é" * 32
    settings.agent = "x" + "é" * 40
    assert dict(decode_settings(settings.encode()))[Setting.AGENT] == "x" + "é" * 31


entries = st.builds(
    entry,
    st.integers(0, 16) | st.integers(0, 0xFFFF),
    st.binary(max_size=12) | st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4, "little")),
)


@given(st.lists(entries, max_size=5).map(b"".join) | st.binary(max_size=40), st.booleans())
def test_any_body_means_the_same_to_the_reference(body: bytes, first: bool) -> None:
    try:
        expected: Any = tuple(wire_settings.decode_settings(body, is_first=first))
    except WireError:
        with pytest.raises(ValueError):
            decode_settings(body, first)
    else:
        assert decode_settings(body, first) == expected


class TestWireNumbers:
    def test_a_codec_is_named_by_its_number_in_frames(self) -> None:
        numbers = WireNumbers({1: "msgpack", 70: "ours"}, {})
        assert (numbers.codec_label(1), numbers.codec_label(70)) == ("'msgpack'", "'ours'")
        assert numbers.codec_label(71) == "number 71"

    def test_it_keeps_separate_tables(self) -> None:
        codecs = {1: "msgpack"}
        numbers = WireNumbers(codecs, {})
        codecs[2] = "json"
        assert numbers.codecs == {1: "msgpack"}
        assert numbers.compressors == {}


def test_workers_are_told_where_there_are_several() -> None:
    settings = usual_settings(True)
    alone = settings.encode()
    settings.workers = 4
    assert (Setting.WORKERS, 4) in decode_settings(settings.encode())
    assert Setting.WORKERS not in dict(decode_settings(alone))
    for wrong in (b"\0\0", b"\4", b"\4\0\0\0"):
        with pytest.raises(ValueError, match="setting 15"):
            decode_settings(entry(Setting.WORKERS, wrong))
