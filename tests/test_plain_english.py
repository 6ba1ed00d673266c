"""Plain English in the sources and the documents: how a sentence may begin, and words that have to be read twice."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.prose import Paragraph, paragraphs_of, sentences_of
from tests.support.source_tree import ROOT

pytestmark = pytest.mark.usefixtures("forgotten_trees")

SOURCES = [path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".pyi", ".pyx", ".pxd", ".h"}]
FILES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "bench").glob("*.md"),
        *(ROOT / "ci").glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *SOURCES,
    ]
)

_INDIRECT = re.compile(r"[\"'“(\[*_`]*(?:what|who|whose|whoever)\b", re.IGNORECASE)
# The key of a rule in a policy that lists its callers.
_KEY = "who"
_QUESTION = re.compile(r"\?[\"'”)\]*_`]*$")
# `is None` is code, and a word that ends a line continues after the mark of the next line of a comment.
_GAP = r"\s+(?:#:?\s*)?"
_RIDDLES = re.compile(
    rf"\b(?:[Nn]obody|[Ww]hoever|[Ii]n{_GAP}vain|[Ii]s{_GAP}none|[Oo]f{_GAP}theirs)\b",
)

TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))

#: Phrases that have to be read twice: subjects that point back, and negations where the field has a word. Each has its
#: count in the prose of sources and documents, and its count in tests, where names of functions count too. A change
#: that lowers a count records the lower one here. Name the thing again, or take the word behind the row.
PHRASES = {
    "those of": (0, 2),
    "that of": (0, 8),
    "the same of": (0, 3),
    "those that": (1, 51),
    "ones that": (0, 1),
    "one that": (4, 89),
    "so many": (0, 27),  # a number, a count, the name of the argument
    "of its own": (0, 38),  # separate, its, dedicated
    "of their own": (1, 48),
    "not there": (1, 22),  # missing
    "that is there": (0, 0),  # existing
    "not known": (15, 17),  # unknown
    "not open": (4, 7),  # closed
    "not encrypted": (11, 8),  # plain text
    "not valid": (7, 7),  # invalid
    "not allowed": (8, 7),  # forbidden
    "no more than": (0, 8),  # at most
    "not less than": (1, 1),  # at least
    "nothing but": (0, 10),  # only
    "has no room": (0, 8),  # is full
    "without an end": (1, 16),  # endless
}
#: Tests whose names begin with what, who or whose.
INDIRECT_NAMES = 0

# Words of a name have `_` between them.
_APART = rf"(?:{_GAP}|_)"
_PHRASES = re.compile(
    rf"(?<![a-z])(?:{'|'.join(phrase.replace(' ', _APART) for phrase in PHRASES)})(?![a-z])", re.IGNORECASE
)
_NAME = re.compile(r"\w*_\w*")
_INDIRECT_NAME = re.compile(r"\bdef test_(?:what|who|whose|whoever)_")


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


def phrases_in(text: str) -> Counter[str]:
    """Count the phrases of the list in a text, in names too."""
    return Counter(" ".join(re.findall("[a-z]+", found.lower())) for found in _PHRASES.findall(text))


def phrases_of(paths: Iterable[Path], *, with_names: bool) -> Counter[str]:
    texts = (path.read_text(encoding="utf-8") for path in paths)
    return sum((phrases_in(text if with_names else _NAME.sub("_", text)) for text in texts), Counter())


def test_prose_is_plain() -> None:
    assert [wrong for path in FILES for wrong in wrong_in(path)] == []


def test_phrases_that_are_read_twice_get_fewer() -> None:
    told, tested = phrases_of(FILES, with_names=False), phrases_of(TESTS, with_names=True)
    found = {phrase: (told[phrase], tested[phrase]) for phrase in PHRASES}
    assert [
        f"{phrase!r}: {found[phrase]} in prose and tests, at most {most}"
        for phrase, most in PHRASES.items()
        if any(count > bound for count, bound in zip(found[phrase], most, strict=True))
    ] == []


def test_names_of_tests_that_begin_indirectly_get_fewer() -> None:
    names = [name for path in TESTS for name in _INDIRECT_NAME.findall(path.read_text(encoding="utf-8"))]
    assert len(names) <= INDIRECT_NAMES


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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# as those of\n# a peer", ["those of"]),
        ("#: So\n#: many of them", ["so many"]),
        ("def test_a_task_of_its_own() -> None:", ["of its own"]),
        ("a name that is not there", ["not there"]),
        ("none that of_course", ["that of"]),
        ("someone that so_manyfold, noone_that", []),
    ],
)
def test_phrases_are_found_in_prose_and_in_names(text: str, found: list[str]) -> None:
    assert sorted(phrases_in(text)) == found
