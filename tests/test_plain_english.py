"""Plain English in the sources and the documents: how a sentence may begin, and words that have to be read twice."""

import re
from pathlib import Path

import pytest

from tests.support.prose import Paragraph, paragraphs_of, sentences_of
from tests.support.source_tree import ROOT

pytestmark = pytest.mark.usefixtures("forgotten_trees")

SOURCES = [path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".pyi", ".pyx", ".pxd", ".h"}]
FILES = sorted([*ROOT.glob("*.md"), *(ROOT / "bench").glob("*.md"), *(ROOT / "docs").rglob("*.md"), *SOURCES])

_INDIRECT = re.compile(r"[\"'“(\[*_`]*(?:what|who|whose|whoever)\b", re.IGNORECASE)
# The key of a rule in a policy that lists its callers.
_KEY = "who"
_QUESTION = re.compile(r"\?[\"'”)\]*_`]*$")
# `is None` is code, and a word that ends a line goes on behind the mark of the next line of a comment.
_GAP = r"\s+(?:#:?\s*)?"
_RIDDLES = re.compile(
    rf"\b(?:[Nn]obody|[Ww]hoever|[Ii]n{_GAP}vain|[Ii]s{_GAP}none|[Oo]f{_GAP}theirs)\b",
)


def indirect_sentences(paragraph: Paragraph) -> list[str]:
    """Return the sentences of a paragraph that are no question and begin with what, who, whose or whoever."""
    return [
        sentence
        for sentence in sentences_of(paragraph)
        if sentence != _KEY and _INDIRECT.match(sentence) and not _QUESTION.search(sentence)
    ]


def wrong_in(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    begins = [
        (paragraph.line, sentence)
        for paragraph in paragraphs_of(path)
        for sentence in indirect_sentences(paragraph)
    ]
    words = [(text.count("\n", 0, match.start()) + 1, match[0]) for match in _RIDDLES.finditer(text)]
    return [f"{path.relative_to(ROOT)}:{line}: {found}" for line, found in sorted(begins + words)]


def test_prose_is_plain() -> None:
    assert [wrong for path in FILES for wrong in wrong_in(path)] == []


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.py", '"""What it is."""\n', ["What it is."]),
        (
            "a.py",
            '"""Say it.\n\n    Done twice. Whoever\n    asks gets it.\n    """\n',
            ["Whoever asks gets it."],
        ),
        (
            "a.py",
            '"""Say it.\n\n    Args:\n        name: what is said;\n            or not.\n    """\n',
            ["what is said; or not."],
        ),
        ("a.pyx", "# It ends.\n# Who reads on\n# is late.\n", ["Who reads on is late."]),
        ("a.pyx", "cdef int a  # what it is\n", ["what it is"]),
        ("a.pxd", "    #: Whose it is.\n", ["Whose it is."]),
        ("a.py", 'fail("what came " f"is {wrong}")\n', ["what came is {wrong}"]),
        ("a.h", "/* Is a.\n * What is b. */\nint a; // who calls\n", ["What is b.", "who calls"]),
        (
            "a.md",
            "# What it is\n\n- (*Who* may)\n\n| a | Whose |\n|---|---|\n",
            ["What it is", "(*Who* may)", "Whose"],
        ),
        ("a.md", "```python\nf()  # what it does\n```\n", ["what it does"]),
        ("a.md", "```text\nWhat it prints.\n```\n", []),
        ("a.md", "What is it? Say (what it is), then\nwhat it does. Whatever it is.\n", []),
        ("a.py", "what = who(whose)\nwhat.is_it()\n", []),
        ("a.py", 'rule.get("who")\n', []),
    ],
)
def test_sentences_are_found_where_they_begin(tmp_path: Path, name: str, text: str, found: list[str]) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert [wrong for paragraph in paragraphs_of(path) for wrong in indirect_sentences(paragraph)] == found


@pytest.mark.parametrize(
    "text", ["Nobody is", "it is in\n    # vain", "#: is\n#: none", "a call of theirs", "nobody = 1"]
)
def test_words_are_found_across_lines(text: str) -> None:
    assert _RIDDLES.search(text)


@pytest.mark.parametrize("text", ["it is None", "vanity", "this none", "of their services"])
def test_other_words_are_not(text: str) -> None:
    assert not _RIDDLES.search(text)
