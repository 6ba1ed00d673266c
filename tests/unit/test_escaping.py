"""What a peer's text becomes before it reaches a terminal or a log."""

import json
import logging
import re
import sys
import unicodedata
from collections.abc import Iterator

import pytest

import fastrpc
from fastrpc.escaping import LOGGERS, printable, printable_json
from tests.support.source_tree import PACKAGE

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
    # Letters, marks and a symbol that show nothing.
    "\u034f": r"\u034f",
    "\u115f": r"\u115f",
    "\u1160": r"\u1160",
    "\u17b4": r"\u17b4",
    "\u180b": r"\u180b",
    "\u2065": r"\u2065",
    "\u2800": r"\u2800",
    "\u3164": r"\u3164",
    "\ufe0f": r"\ufe0f",
    "\uffa0": r"\uffa0",
    "\ufff0": r"\ufff0",
    "\U000e0100": r"\U000e0100",
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
    shown = printable(everything)
    left = {unicodedata.category(character) for character in shown}
    assert left.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert len(shown.splitlines()) == 1


def test_json_stays_the_same_value() -> None:
    value = {"".join(HIDDEN): ["a\x9b\u202e", {"Grüße": 1}]}
    for indent in (None, 2):
        text = json.dumps(value, indent=indent, ensure_ascii=False)
        shown = printable_json(text)
        assert json.loads(shown) == value
        assert printable(shown, multiline=True) == shown
    assert printable_json('{"a": "Grüße"}') == '{"a": "Grüße"}'


class Lines(logging.Handler):
    """Keeps the lines that a program would write into its log."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.texts.append(self.format(record))
        except Exception:
            self.handleError(record)


class Mute:
    """Has no text."""

    def __str__(self) -> str:
        raise LookupError("no text")


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    package = logging.getLogger("fastrpc")
    package.addHandler(handler)
    yield handler
    package.removeHandler(handler)


@pytest.mark.parametrize("name", LOGGERS)
def test_a_log_record_stays_one_line_with_any_text_of_a_peer(name: str, lines: Lines) -> None:
    error = fastrpc.CallError(fastrpc.Status.NOT_FOUND, "gone\nERROR root: forged \x1b[2J 100 %s")
    logging.getLogger(name).error("%s: %s after %.1f s", "tcp://a:1\u202e", error, 0.25)
    text = r"tcp://a:1\u202e: NOT_FOUND: gone\nERROR root: forged \x1b[2J 100 %s after 0.2 s"
    assert lines.texts == [f"ERROR {name}: {text}"]
    assert "\x1b" in str(error)


def test_a_record_without_arguments_is_escaped_too(lines: Lines) -> None:
    logging.getLogger("fastrpc.server").error("Grüße\u3164 \u2800")
    assert lines.texts == [r"ERROR fastrpc.server: Grüße\u3164 \u2800"]


@pytest.mark.parametrize("arguments", [(Mute(),), ("one", "too many"), ()])
def test_a_record_that_cannot_be_formatted_is_left_to_the_handler(
    arguments: tuple[object, ...], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[logging.LogRecord] = []
    monkeypatch.setattr(lines, "handleError", told.append)
    # pytest's own handler would raise.
    monkeypatch.setattr(logging.getLogger("fastrpc"), "propagate", False)
    logging.getLogger("fastrpc.server").error(
        "%s fails" if arguments else "%(name)s fails", *arguments or ({},)
    )
    assert len(told) == 1
    assert lines.texts == []


def test_a_traceback_of_fastrpc_is_logged_escaped(lines: Lines) -> None:
    try:
        try:
            raise ValueError("\x9bred")
        except ValueError as cause:
            raise LookupError("user \x1b[2J\tof\nall") from cause
    except LookupError as error:
        logging.getLogger("fastrpc.server").error("it failed", exc_info=error)
    (text,) = lines.texts
    assert r"\x9bred" in text
    assert "LookupError: user \\x1b[2J\tof\n    all" in text
    assert "Traceback" in text
    assert printable(text, multiline=True) == text


def test_no_line_of_a_traceback_starts_as_a_record_does(lines: Lines) -> None:
    forged = "INFO fastrpc.server forged"
    try:
        try:
            raise ValueError(f"\n{forged} 1\n\n{forged} 2\r{forged} 3")
        except ValueError as cause:
            cause.add_note(f"{forged} 4\n Traceback (most recent call last):\n{forged} 5")
            raise ExceptionGroup(f"several\n{forged} 6", [LookupError(f"\n{forged} 7")]) from cause
    except ExceptionGroup as error:
        logging.getLogger("fastrpc.server").error("it failed", exc_info=error)
    (text,) = lines.texts
    found = text.splitlines()
    # A carriage return is escaped.
    assert sum(forged in line for line in found) == 6
    assert not [line for line in found if line.startswith(forged)]
    # What the interpreter writes itself stays as it is.
    assert "Traceback (most recent call last):" in found
    assert "The above exception was the direct cause of the following exception:" in found


def test_plain_records_are_logged_in_the_format_of_the_program(lines: Lines) -> None:
    class Short(logging.Formatter):
        def formatException(self, ei: object) -> str:
            return "<traceback>"

    lines.setFormatter(Short("%(message)s"))
    try:
        raise ValueError("plain")
    except ValueError as error:
        logging.getLogger("fastrpc.server").error("%s failed", "arith.mul", exc_info=error)
    assert lines.texts == ["arith.mul failed\n<traceback>"]


def test_every_logger_of_the_package_escapes() -> None:
    used = {
        name
        for path in PACKAGE.rglob("*.py*")
        if path.suffix in {".py", ".pyx"}
        for name in re.findall(r'getLogger\("([^"]*)"\)', path.read_text(encoding="utf-8"))
    }
    known = {"fastrpc", "fastrpc.client", "fastrpc.server", "fastrpc.registry", "fastrpc.store"}
    assert known <= used <= set(LOGGERS)
