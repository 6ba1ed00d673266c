"""What a peer's text becomes before it reaches a terminal or a log."""

import sys
import unicodedata

import pytest

from fastrpc.escaping import printable

#: What a terminal acts upon, or a reader does not see, and how it is written.
HIDDEN = {
    "\x00": r"\x00",
    "\x07": r"\x07",
    "\x08": r"\x08",
    "\t": r"\t",
    "\n": r"\n",
    "\r": r"\r",
    "\x1b": r"\x1b",
    "\x7f": r"\x7f",
    "\x85": r"\x85",
    "\x9b": r"\x9b",
    "\x9d": r"\x9d",
    "\xad": r"\xad",
    "\u061c": r"\u061c",
    "\u200b": r"\u200b",
    "\u200f": r"\u200f",
    "\u2028": r"\u2028",
    "\u2029": r"\u2029",
    "\u202e": r"\u202e",
    "\u2066": r"\u2066",
    "\ufeff": r"\ufeff",
    "\ud800": r"\ud800",
    "\U000e0041": r"\U000e0041",
}


@pytest.mark.parametrize("character", HIDDEN, ids=ascii)
def test_a_character_that_is_not_shown_as_itself_is_escaped(character: str) -> None:
    assert printable(f"a{character}b{character}") == f"a{HIDDEN[character]}b{HIDDEN[character]}"


@pytest.mark.parametrize(
    "text",
    ["", "plain text", "Grüße, 世界", "a\xa0b\u3000c", "👍", r"C:\new\x1b", "e\u0301", "[red]text[/red]"],
)
def test_text_that_is_shown_as_itself_stays(text: str) -> None:
    assert printable(text) == text
    assert printable(text, multiline=True) == text


def test_lines_and_tabs_stay_where_several_lines_are_wanted() -> None:
    assert printable("a\tb\n\x1b[2Jc\r\n", multiline=True) == "a\tb\n\\x1b[2Jc\\r\n"


def test_nothing_that_is_left_is_a_control_or_format_character() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    left = {unicodedata.category(character) for character in printable(everything)}
    assert left.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert len(printable(everything).splitlines()) == 1
