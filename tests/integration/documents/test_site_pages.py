"""The pages of the site, as they are laid out: links lead to the same documents, the menu has every chapter."""

import re
from pathlib import Path

import pytest

from ci.site.pages import PARTS, ROOT, lay_out

GUIDE = ROOT / "docs" / "guide"


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    lay_out(tmp_path / "pages")
    return tmp_path / "pages"


def test_links_lead_to_the_same_documents(pages: Path) -> None:
    found = list(pages.rglob("*.md"))
    # The table of the guide is the first page; three documents stand beside it.
    assert len(found) == len(list(GUIDE.glob("*.md"))) + 3
    links = [
        (page, link)
        for page in found
        for link in re.findall(r"\]\(([^)\s#:]+\.(?:md|rst))", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 80
    assert [link for page, link in links if not (page.parent / link).is_file()] == []


def test_the_menu_has_every_chapter_once(pages: Path) -> None:
    names = [name for part in PARTS.values() for name in part.split()]
    assert len(set(names)) == len(names) > 40
    assert [name for name in names if not (GUIDE / f"{name}.md").is_file()] == []
    index = (pages / "index.md").read_text(encoding="utf-8")
    chapters = [path.stem for path in GUIDE.glob("*.md") if path.name != "README.md"]
    assert [name for name in chapters if index.count(f"\nguide/{name}\n") != 1] == []
