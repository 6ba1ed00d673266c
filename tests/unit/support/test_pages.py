"""Pages tell a block that works as printed from one that does not."""

import pytest

from tests.support.pages import Block, Ran, blocks_of, file_name

SHELL = Block("sh", "python a.py\n")


def ran(output: str, expected: str | None, code: int = 0) -> Ran:
    return Ran(SHELL, code, output, expected)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("42\n", "42\n"),
        ("42   \n", "42\n"),
        ("took 3 ms\n", "took … ms\n"),
        ("a\nb\nc\nd\n", "a\n…\nd\n"),
        ("a\nd\n", "a\n…\nd\n"),
        ("anything\n", None),
    ],
)
def test_output_that_fits_is_as_printed(output: str, expected: str | None) -> None:
    assert ran(output, expected).is_as_printed()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("42\n43\n", "42\n"),
        ("", "42\n"),
        ("took 3 ms\nmore\n", "took … ms\n"),
        ("b\na\n", "a\nb\n"),
        ("a.c\n", "abc\n"),
        ("abc\n", "a.c\n"),
    ],
)
def test_other_output_is_not_as_printed(output: str, expected: str) -> None:
    assert not ran(output, expected).is_as_printed()


def test_a_command_that_fails_is_not_as_printed() -> None:
    assert not ran("42\n", "42\n", code=1).is_as_printed()


def test_files_are_named_by_their_first_line() -> None:
    page = "```python\n# greet.py\n```\n\n```sh\n# all.txt\n```\n"
    assert [file_name(block) for block in blocks_of(page)] == ["greet.py", None]
    assert file_name(Block("python", "import fastrpc\n")) is None
    assert file_name(Block("toml", "# fastrpc.toml\n")) == "fastrpc.toml"
