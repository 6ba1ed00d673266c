"""Write the pages of the site in the form that Sphinx reads: documents with their links, an index, the reference."""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci.site.reference import write_reference

__all__ = ["ROOT", "lay_out", "parts_of"]

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide"

#: Documents in addition to the guide. A link of a page to another file of the repository fails the build.
DOCUMENTS = ("PROTOCOL.md", "SECURITY.md", "CHANGELOG.md")

_LINK = re.compile(r"(\]\()([^)\s#:]+\.(?:md|svg|png))")
_ROW = re.compile(r"^\| \[[^\]]+\]\((\S+)\.md\) \| (.+) \|$", re.MULTILINE)
_PART = re.compile(r"^## (.+)$", re.MULTILINE)

INDEX = """\
# fastrpc

An RPC engine for latency-sensitive Python services: a compiled core and a thin typed API. Beside the guide below there
are the [reference](reference/index.rst) of every public name, the [protocol](PROTOCOL.md), the page on
[security](SECURITY.md) and the [changelog](CHANGELOG.md).

{text}

{chapters}

```{{toctree}}
:hidden:
:caption: Reference

reference/index
PROTOCOL
SECURITY
CHANGELOG
```
"""


def lay_out(folder: Path) -> None:
    """Write all pages into a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "guide").mkdir(parents=True)
    for picture in (*GUIDE.glob("*.svg"), *GUIDE.glob("*.png")):
        shutil.copy(picture, folder / "guide")
    for page in GUIDE.glob("*.md"):
        if page.name != "README.md":
            (folder / "guide" / page.name).write_text(_placed(page, folder), encoding="utf-8")
    for name in DOCUMENTS:
        (folder / name).write_text(_placed(ROOT / name, folder), encoding="utf-8")
    (folder / "index.md").write_text(_index(folder), encoding="utf-8")
    write_reference(folder / "reference")


def _place_of(page: Path, folder: Path) -> Path:
    """Return the place of a document of the repository in the site."""
    if page == GUIDE / "README.md":
        return folder / "index.md"
    return folder / "guide" / page.name if page.parent == GUIDE else folder / page.relative_to(ROOT)


def _placed(page: Path, folder: Path) -> str:
    """Return the text of a document with links that lead to the same documents from its place in the site."""
    here = _place_of(page, folder).parent

    def moved(link: re.Match[str]) -> str:
        target = _place_of((page.parent / link[2]).resolve(), folder)
        return link[1] + os.path.relpath(target, here)

    return _LINK.sub(moved, page.read_text(encoding="utf-8"))


def _index(folder: Path) -> str:
    text = _placed(GUIDE / "README.md", folder)
    _, _, body = text.partition("\n")
    questions = dict(_ROW.findall(text))
    # The search takes these for headings of their pages.
    (folder / "static").mkdir()
    (folder / "static" / "questions.js").write_text(
        f"const QUESTIONS = {json.dumps(questions)};\n", encoding="utf-8"
    )
    return INDEX.format(text=body.strip(), chapters=_menu(parts_of(text)))


def parts_of(index: str) -> dict[str, list[str]]:
    """Return the chapters of the guide by its parts, in the order of the guide's index."""
    _, *sections = _PART.split(index)
    listed = {
        part: [chapter for chapter, _ in _ROW.findall(section)]
        for part, section in zip(sections[::2], sections[1::2], strict=True)
    }
    return {part: chapters for part, chapters in listed.items() if chapters}


def _menu(parts: Mapping[str, Sequence[str]]) -> str:
    """Return the menu: the parts of the guide, each with its chapters."""
    return "\n\n".join(
        "\n".join(["```{toctree}", ":hidden:", f":caption: {part}", "", *chapters, "```"])
        for part, chapters in parts.items()
    )
