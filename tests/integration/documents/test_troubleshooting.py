"""The page of troubleshooting has the texts of errors and warnings, and for each of them a cause and a way out."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.mistakes import access, calls, reaching, services, settings, warned
from tests.support.source_tree import ROOT

pytestmark = pytest.mark.one_loop

_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)

ROWS = _ROW.findall((ROOT / "docs" / "guide" / "troubleshooting.md").read_text(encoding="utf-8"))
RAISERS = [
    raiser for part in (reaching, calls, services, settings, access, warned) for raiser in part.RAISERS
]


def rows_of(text: str) -> list[str]:
    """Return the messages of the page that a text has, or begins with."""
    return [
        message
        for message, *_ in ROWS
        if re.search(".+?".join(re.escape(part) for part in message.strip("…").split("…")), text, re.DOTALL)
    ]


async def text_of(raiser: Any, folder: Path) -> str:
    with pytest.raises(Exception) as raised:
        made = raiser(folder)
        if inspect.isawaitable(made):
            await made
    return str(raised.value)


@pytest.mark.parametrize("raiser", RAISERS, ids=lambda raiser: raiser.__name__)
async def test_a_message_is_explained(raiser: Any, tmp_path: Path) -> None:
    text = await text_of(raiser, tmp_path)
    assert len(rows_of(text)) == 1, (text, rows_of(text))


async def test_every_row_of_the_page_is_raised(tmp_path: Path) -> None:
    assert len(ROWS) >= 60
    assert len({message for message, *_ in ROWS}) == len(ROWS)
    raised = {row for raiser in RAISERS for row in rows_of(await text_of(raiser, tmp_path))}
    assert {message for message, *_ in ROWS} - raised == set()
