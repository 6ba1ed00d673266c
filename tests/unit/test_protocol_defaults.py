"""The limits in PROTOCOL.md are the defaults of the settings that it names next to them."""

import re
from collections.abc import Iterator
from typing import Any

from fastrpc import config
from tests.support.source_tree import ROOT

PROTOCOL = (ROOT / "PROTOCOL.md").read_text(encoding="utf-8")

#: A row of section 5 has its default, a row of section 14 its value, each with the settings that set it.
_DEFAULT = re.compile(r"^\| \d+ (?:[^|]+\|){4} ([^|]+) \| (`\w+\.\w+`) \|$", re.MULTILINE)
_VALUE = re.compile(r"^\| [^|]+ \| ([^|]+) \| (`[^|]+`) \|", re.MULTILINE)
_SETTING = re.compile(r"`(?:(\w+)\.)?([a-z]\w+)`")
_FIGURE = re.compile(r"(\d[\d,]*)(?: (KiB|MiB|GiB|s))?\b")
_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "s": 1, "": 1}

#: Settings whose row describes their effect, not their value.
TOLD_IN_WORDS = {"Keepalive.minimum_interval", "Memory.send_hard"}


def section(text: str, number: int) -> str:
    return text.partition(f"\n## {number}. ")[2].partition("\n## ")[0]


def settings_in(cell: str) -> Iterator[tuple[str, Any]]:
    """Yield the settings that a cell names, each with its default; a class counts for the names after it."""
    owner = ""
    for given, field in _SETTING.findall(cell):
        owner = given or owner
        yield f"{owner}.{field}", getattr(getattr(config, owner)(), field)


def figures_in(cell: str) -> set[float | None]:
    figures: set[float | None] = {None} if cell == "no limit" else set()
    return figures | {float(digits.replace(",", "")) * _UNITS[unit] for digits, unit in _FIGURE.findall(cell)}


def wrong_values(text: str) -> list[str]:
    """Return the rows of the table of limits without the default of a setting that they name."""
    return [
        f"{name}: {cell}"
        for cell, settings in _VALUE.findall(section(text, 14))
        for name, value in settings_in(settings)
        if name not in TOLD_IN_WORDS and cell != "the same number, counted separately"
        if (value // 4 if cell.startswith("a quarter of") else value) not in figures_in(cell)
    ]


def wrong_defaults(text: str) -> list[str]:
    """Return the rows of the table of SETTINGS with another default, which has bytes, counts and milliseconds."""
    return [
        f"{name}: {cell}"
        for cell, settings in _DEFAULT.findall(section(text, 5))
        for name, value in settings_in(settings)
        if not (
            cell == ", ".join(value)
            if isinstance(value, tuple)
            else (value * 1000 if isinstance(value, float) else value) in figures_in(cell)
        )
    ]


def test_each_limit_is_the_default_of_its_setting() -> None:
    assert len(_VALUE.findall(section(PROTOCOL, 14))) > 15
    assert wrong_values(PROTOCOL) == []


def test_each_default_of_settings_frames_is_the_default_of_its_setting() -> None:
    assert len(_DEFAULT.findall(section(PROTOCOL, 5))) > 8
    assert wrong_defaults(PROTOCOL) == []


def test_other_values_are_found() -> None:
    changed = PROTOCOL.replace("| frame | 256 KiB |", "| frame | 512 KiB |").replace(
        "| 262,144 |", "| 262,145 |"
    )
    assert wrong_values(changed) == ["Limits.frame_bytes: 512 KiB"]
    assert wrong_defaults(changed) == ["Limits.frame_bytes: 262,145"]
