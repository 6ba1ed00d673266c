"""The pages of the site, as they are laid out: links lead to the same documents, the menu has every chapter."""

import re
from pathlib import Path

import pytest

from ci.site.pages import ROOT, lay_out, parts_of

GUIDE = ROOT / "docs" / "guide"


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    lay_out(tmp_path / "pages")
    return tmp_path / "pages"


def test_links_lead_to_the_same_documents(pages: Path) -> None:
    found = list(pages.rglob("*.md"))
    # The table of the guide is the first page; three documents are added to the guide.
    assert len(found) == len(list(GUIDE.glob("*.md"))) + 3
    links = [
        (page, link)
        for page in found
        for link in re.findall(r"\]\(([^)\s#:]+\.(?:md|rst))", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 80
    assert [link for page, link in links if not (page.parent / link).is_file()] == []


def test_the_menu_has_every_chapter_once(pages: Path) -> None:
    index = (pages / "index.md").read_text(encoding="utf-8")
    chapters = [path.stem for path in GUIDE.glob("*.md") if path.name != "README.md"]
    assert [name for name in chapters if index.count(f"\nguide/{name}\n") != 1] == []


def test_the_menu_has_the_parts_of_the_guide_in_their_order(pages: Path) -> None:
    parts = parts_of((GUIDE / "README.md").read_text(encoding="utf-8"))
    menu = re.findall(r":caption: (.+)\n\n((?:.+\n)+)```", (pages / "index.md").read_text(encoding="utf-8"))
    assert [(part, names.split()) for part, names in menu if part != "Reference"] == [
        (part, [f"guide/{name}" for name in names]) for part, names in parts.items()
    ]
