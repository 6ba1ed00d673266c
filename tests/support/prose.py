"""Read the prose of a file: docstrings, comments, strings and pages, in paragraphs and sentences.

A paragraph ends at an empty line, at the next item of a list, heading or cell of a table, and where code begins. The
lines of a comment that stands alone are one paragraph or several; a comment after code is a separate paragraph.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Paragraph", "paragraphs_of", "sentences_of"]

_STRING = r'"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
# Strings that Python joins are one text; so are the lines of a comment.
_CODE = re.compile(rf"(?P<string>(?:{_STRING})(?:\s*\b[rbf]?(?:{_STRING}))*)|#(?P<comment>[^\n]*)")
_ONE_STRING = re.compile(_STRING)
_C_COMMENT = re.compile(r"//(?P<line>[^\n]*)|/\*(?P<block>[\s\S]*?)\*/")
_FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<text>[\s\S]*?)^ *```$", re.MULTILINE)

# Begins a separate paragraph: an item of a list, a heading, an argument of a function that a docstring describes.
_MARK = re.compile(r"(?:[-*+] |\d+[.)] |#+ |>+ |\w+(?: \([^)]*\))?: +(?=\S))")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”)\]*_`]*\s+(?=[\"'“(\[*_]*[A-Z])")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Text that is read at one go, with the line of the file where it begins."""

    line: int
    text: str


def paragraphs_of(path: Path) -> list[Paragraph]:
    """Return the prose of a file, in the order in which it stands there."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        found = _in_page(text)
    elif path.suffix == ".h":
        found = _in_c(text)
    else:
        found = _in_code(text, 1)
    return sorted(found, key=lambda paragraph: paragraph.line)


def sentences_of(paragraph: Paragraph) -> list[str]:
    """Return the sentences of a paragraph, without the marks of a list around them."""
    return _SENTENCE_END.split(paragraph.text)


def _in_page(text: str) -> Iterator[Paragraph]:
    for fence in _FENCE.finditer(text):
        line = text.count("\n", 0, fence.start("text")) + 1
        if fence["language"] in {"python", "sh", "toml", "yaml", "dockerfile"}:
            yield from _in_code(fence["text"], line)
    without_code = _FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)
    yield from _in_lines(enumerate(without_code.split("\n"), 1))


def _in_c(text: str) -> Iterator[Paragraph]:
    for match in _C_COMMENT.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        written = match["line"] or re.sub(r"^ *\*+ ?", "", match["block"] or "", flags=re.MULTILINE)
        yield from _in_lines(enumerate(written.split("\n"), line))


def _in_code(text: str, first: int) -> Iterator[Paragraph]:
    """Yield the prose of Python, Cython or a language with the same comments; `first` is the line of its begin."""
    comment: list[tuple[int, str]] = []
    for match in _CODE.finditer(text):
        line = first + text.count("\n", 0, match.start())
        if match["string"]:
            joined = "".join(
                re.sub(r"^('''|\"\"\"|.)([\s\S]*)\1$", r"\2", found)
                for found in _ONE_STRING.findall(match["string"])
            )
            yield from _in_lines(enumerate(joined.replace("\\n", "\n").split("\n"), line))
            continue
        stands_alone = not text[: match.start()].rpartition("\n")[2].strip()
        if not (stands_alone and comment and comment[-1][0] == line - 1):
            yield from _in_lines(comment)
            comment = []
        comment.append((line, match["comment"].lstrip(":! ")))
        if not stands_alone:
            yield from _in_lines(comment)
            comment = []
    yield from _in_lines(comment)


def _in_lines(lines: Iterable[tuple[int, str]]) -> Iterator[Paragraph]:
    words: list[str] = []
    begin = 0
    for line, text in lines:
        written = text.strip()
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", written)] if written.startswith("|") else []
        if not written or cells or _MARK.match(written):
            if words:
                yield Paragraph(begin, " ".join(words))
            words = []
        yield from (Paragraph(line, cell) for cell in cells if cell.strip(":-"))
        if written and not cells:
            begin = begin if words else line
            words.append(
                written if words else _MARK.sub("", written, count=1) if _MARK.match(written) else written
            )
    if words:
        yield Paragraph(begin, " ".join(words))
