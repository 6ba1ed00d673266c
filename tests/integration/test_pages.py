"""The blocks of the README and of the user guide work as printed."""

import re
from pathlib import Path

import pytest

from tests.support.pages import BASH, Page
from tests.support.source_tree import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]


@pytest.mark.skipif(BASH is None, reason="the blocks are written for bash")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_works_as_printed(path: Path, tmp_path: Path) -> None:
    ran, errors = Page(path.read_text(encoding="utf-8"), tmp_path).run()
    if wrong := [str(one) for one in ran if not one.is_as_printed()]:
        pytest.fail("\n".join([*wrong, errors]))
    assert not re.search(r"(?i)\bwarning|\berror|Traceback", errors), errors
