"""The rules of documents: the parts of a page, and the targets of links."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.site.pages import parts_of
from fastrpc import Status, config
from fastrpc._core.http.responses import http_status_of
from tests.support.pages import Block, blocks_of, file_name
from tests.support.source_tree import PACKAGE, ROOT

GUIDE = ROOT / "docs" / "guide"
TESTS = ROOT / "tests"
HARNESS = ROOT / "src" / "fastrpc_harness"
CHAPTERS = sorted(path for path in GUIDE.glob("*.md") if path.name != "README.md")
PAGES = [ROOT / "README.md", GUIDE / "README.md", *CHAPTERS]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "bench").glob("*.md")),
    *sorted((ROOT / "ci").glob("*.md")),
    GUIDE / "README.md",
    *CHAPTERS,
]

#: The tour of the source and its map.
TOUR = ROOT / "ARCHITECTURE.md"
MAP = ROOT / "MAP.md"
#: Words of the tour, which is read in ten minutes.
TOUR_WORDS = 2_000
TOUR_WIDTH = 300

#: Languages that run nothing: output, commands that need a network or root, and files of other programs.
NOT_RUN = {"text", "console", "dockerfile", "ini", "js"}

#: The packages that `pip install 'fastrpc[cli]'` installs for programs of pages.
BROUGHT = {"fastrpc", "msgspec", "prometheus_client"}
#: The packages that have a module, if they are not called like it.
PACKAGES = {
    "cryptography": "fastrpc[jwt]",
    # grpcio-tools brings protobuf.
    "google": "grpcio-tools",
    "grpc": "grpcio",
    "grpc_tools": "grpcio-tools",
    "jwt": "fastrpc[jwt]",
    "opentelemetry": "otel-sdk",
    # fastapi brings it.
    "pydantic": "pydantic fastapi",
}

_IMPORT = re.compile(r"^ *(?:from|import) (\w+)|python -m (\w+)", re.MULTILINE)
_INSTALL = re.compile(r"pip install ([^`]+)`")
_SETTING = re.compile(rf"\b({'|'.join(name for name in config.__all__ if name[0].isupper())})\.([a-z]\w*)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
#: `A`, `B` and `C` in `file`; `A` (`file`).
_FILE = r"`((?:\w+/)+\w+\.(?:pyx|pxd|py|js)|\w+\.py)`"
_NAMES_IN = re.compile(rf"((?:`[\w.]+`(?:, | and ))*`[\w.]+`) (?:in|of) {_FILE}")
_NAME_WITH_FILE = re.compile(rf"(`[A-Za-z_]\w*`) \((?:\*\*)?{_FILE}")
_TEST_NAME = re.compile(r"`((?:tests/)?(?:\w+/)*test_\w+\.py)(?:::(\w+))?`")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors_of(text: str) -> set[str]:
    """Return the anchors of the headings of a page."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> Iterator[str]:
    for link in _LINK.findall(re.sub(r"^```.*?^```$", "", text_of(path), flags=re.MULTILINE | re.DOTALL)):
        if link.startswith("https://"):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        if not target.exists() or (anchor and anchor not in anchors_of(text_of(target))):
            yield f"{path.name}: {link}"


def unused_files(blocks: list[Block]) -> Iterator[str]:
    """Yield the Python files of a page that neither its shell runs nor another file imports."""
    shell = "\n".join(block.text for block in blocks if block.language == "sh")
    for block in blocks:
        name = file_name(block)
        if block.language != "python" or name is None:
            continue
        module = re.escape(name.removesuffix(".py"))
        others = "\n".join(other.text for other in blocks if other is not block)
        is_run = re.search(rf"\b{module}\.py\b", shell) or re.search(
            rf"^(from|import) {module}\b|\b{module}:\w", others, re.MULTILINE
        )
        if not is_run and not (name.startswith("test_") and "pytest" in shell):
            yield name


def unnamed_packages(text: str) -> Iterator[str]:
    """Yield the modules that programs of a page import from packages which the page does not install."""
    blocks = [block for block in blocks_of(text) if block.language in {"python", "sh"}]
    programs = "\n".join(block.text for block in blocks)
    installed = " ".join(_INSTALL.findall(text))
    files = set(re.findall(r"(\w+)\.py\b", programs))
    for module in sorted({one or other for one, other in _IMPORT.findall(programs)}):
        if module in files | BROUGHT | sys.stdlib_module_names or "_pb2" in module:
            continue
        if not any(name in installed for name in PACKAGES.get(module, module).split()):
            yield module


def place_of(name: str) -> Path | None:
    """Return the file or folder that a page names from the package or from the project; None: it is missing."""
    return next((base / name for base in (PACKAGE, ROOT) if (base / name).exists()), None)


def missing_places(text: str) -> list[str]:
    """Return the files and folders that a page names and that do not exist; a file without a folder may be in any."""
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.(?:pyx|pxd|py|h|js|md))?)`", text))
    alone = set(re.findall(r"`(\w+\.(?:pyx|pxd|py|h|js|md))`", text))
    known = {path.name for base in (PACKAGE, HARNESS, TESTS) for path in base.rglob("*.*")}
    return sorted(
        {name for name in named if place_of(name) is None}
        | {name for name in alone - known if place_of(name) is None}
    )


def misplaced_names(text: str) -> list[str]:
    """Return the names that a page says are in a file which does not hold them."""
    said = [
        (name, place)
        for names, place in [*_NAMES_IN.findall(text), *_NAME_WITH_FILE.findall(text)]
        for name in re.findall(r"[\w.]+", names.replace(" and ", " "))
    ]
    return [
        f"{name} in {place}"
        for name, place in said
        if not re.search(rf"\b{name.rpartition('.')[2]}\b", text_of(place_of(place) or Path(place)))
    ]


def changes_of(text: str) -> str:
    """Return the part of the map about changes."""
    return text.partition("## Where to change what")[2].partition("\n## ")[0]


def test_the_tour_is_short() -> None:
    text = text_of(TOUR)
    assert len(text.split()) <= TOUR_WORDS
    assert [line for line in text.splitlines() if len(line) > TOUR_WIDTH] == []


def test_a_frame_kind_is_added_in_few_files() -> None:
    (row,) = (line for line in text_of(MAP).splitlines() if line.startswith("| frame kind |"))
    assert 4 <= len(re.findall(r"\w+\.(?:pyx|pxd|py|md)\b", row)) <= 8


@pytest.mark.parametrize("path", [TOUR, MAP], ids=lambda path: path.name)
def test_files_named_in_the_tour_and_its_map_exist(path: Path) -> None:
    assert missing_places(text_of(path)) == []


def test_names_stand_in_the_files_that_the_map_gives() -> None:
    assert len(re.findall("` in `", text_of(MAP))) > 20
    assert misplaced_names(text_of(MAP)) == []
    assert misplaced_names(text_of(TOUR)) == []


def test_missing_files_and_misplaced_names_are_found() -> None:
    page = "`status.py`, `no/absent.py`, `absent/`, `tests/unit/`: `Status` in `status.py`, `Gate` in `status.py`"
    assert missing_places(page + ", `absent.py`, `gate.pyx`") == ["absent.py", "absent/", "no/absent.py"]
    assert misplaced_names(page) == ["Gate in status.py"]
    assert (
        misplaced_names("`Gate` and `Status` of `status.py`; `Gate` (`status.py`)")
        == ["Gate in status.py"] * 2
    )


def test_the_map_has_a_change_for_each_folder_of_implementations() -> None:
    bases = [*PACKAGE.glob("*/base.py"), *PACKAGE.glob("*/base/__init__.py")]
    folders = {path.relative_to(PACKAGE).parts[0] for path in bases}
    assert {"brokers", "codecs", "selectors"} <= folders
    changes = changes_of(text_of(MAP))
    assert sorted(folder for folder in folders if f"`{folder}/" not in changes) == []


def test_the_map_has_each_file_with_which_a_change_begins() -> None:
    begins = text_of(TOUR).partition("## Where a change begins")[2]
    named = set(re.findall(r"`((?:\w+/)+\w+\.\w+)`", begins))
    assert len(named) > 20
    changes = changes_of(text_of(MAP))
    assert sorted(name for name in named if Path(name).name not in changes) == []


def test_index_has_every_chapter_in_one_part() -> None:
    listed = [name for names in parts_of(text_of(GUIDE / "README.md")).values() for name in names]
    assert sorted(listed) == sorted(chapter.stem for chapter in CHAPTERS)


def test_index_has_an_order_to_read_in_for_each_part() -> None:
    text = text_of(GUIDE / "README.md")
    parts = parts_of(text)
    assert list(parts) == [
        "Start",
        "Calls",
        "Servers",
        "Fleets",
        "HTTP",
        "gRPC and rpcx",
        "Stores and locks",
        "Messages",
        "Operating",
    ]
    ordered = re.findall(r"^## (.+)\n\n[A-Z“][^#|]+[.]\n\n[|] Page", text, re.MULTILINE)
    assert ordered == list(parts)


def test_settings_named_in_documents_exist() -> None:
    named = {
        (path.name, owner, field) for path in DOCUMENTS for owner, field in _SETTING.findall(text_of(path))
    }
    assert len(named) > 50
    assert sorted(name for name in named if not hasattr(getattr(config, name[1]), name[2])) == []


def security_rows(text: str) -> Iterator[tuple[str, str]]:
    """Yield each row of the tables with tests, and the cell of its tests."""
    is_listed = False
    for line in text.splitlines():
        is_listed = line.startswith("|") and (is_listed or "| Test, below `tests/` |" in line)
        if is_listed and "| Test, below `tests/` |" not in line and not line.startswith("|-"):
            yield line, line.strip("| ").rpartition(" | ")[2]


def rows_without_a_test(text: str) -> list[str]:
    """Return the rows that name no test: neither one by its file, nor one of the two names for several."""
    return [
        row
        for row, tests in security_rows(text)
        if not (
            _TEST_NAME.search(tests)
            or {"rate", "others"}.intersection(re.split(r"[;,] ", tests))
            or "not tried" in row.lower()
        )
    ]


def missing_tests(text: str) -> list[str]:
    named = [(path.removeprefix("tests/"), name) for path, name in _TEST_NAME.findall(text)]
    return [
        f"{path}::{name}"
        for path, name in named
        if not (TESTS / path).exists() or (name and f"def {name}(" not in text_of(TESTS / path))
    ]


def test_every_row_of_security_names_tests_that_exist() -> None:
    text = text_of(ROOT / "SECURITY.md")
    assert len(list(security_rows(text))) > 100
    assert rows_without_a_test(text) == []
    assert missing_tests(text) == []


def test_a_row_without_a_test_and_a_missing_test_are_found() -> None:
    head = "| Threat | Defence | Test, below `tests/` |\n|---|---|---|\n"
    rows = "| a | b | – |\n| c | d | `unit/test_c.py::test_d` |\n| e | Not tried. | – |\n| f | g | rate |\n"
    assert rows_without_a_test(head + rows + "\n| h | i |\n") == ["| a | b | – |"]
    assert rows_without_a_test(f"{head}| j | k | moderate |\n") == ["| j | k | moderate |"]
    assert missing_tests(head + rows) == ["unit/test_c.py::test_d"]


def test_links_lead_somewhere() -> None:
    assert [link for path in DOCUMENTS for link in broken_links(path)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
class TestPages:
    def test_every_block_is_a_file_or_a_command_or_output(self, path: Path) -> None:
        for block in blocks_of(text_of(path)):
            if block.language == "":
                # The commands of the project, which set up their tools.
                assert all(line.startswith("make ") for line in block.text.splitlines()), block
            else:
                assert file_name(block) or block.language == "sh" or block.language in NOT_RUN, block

    def test_output_stands_below_a_command(self, path: Path) -> None:
        blocks = blocks_of(text_of(path))
        languages = [block.language for block in blocks]
        assert [
            blocks[index].text
            for index, language in enumerate(languages)
            if language == "text" and languages[index - 1 : index] != ["sh"]
        ] == []

    def test_files_have_unique_names(self, path: Path) -> None:
        names = [name for block in blocks_of(text_of(path)) if (name := file_name(block))]
        assert len(names) == len(set(names))

    def test_every_program_is_run(self, path: Path) -> None:
        assert list(unused_files(blocks_of(text_of(path)))) == []


def test_pages_name_the_packages_that_they_need() -> None:
    assert {path.name: found for path in PAGES if (found := list(unnamed_packages(text_of(path))))} == {}


def test_a_package_that_a_page_does_not_name_is_found() -> None:
    page = "```python\n# a.py\nimport json\nimport b\nfrom numpy import array\n```\n```sh\npython -m b\n```\n"
    assert list(unnamed_packages(page)) == ["b", "numpy"]
    assert list(unnamed_packages(f"`pip install numpy`\n{page}")) == ["b"]


def test_the_table_of_errors_has_the_numbers_of_the_gateway() -> None:
    told = re.findall(r"^\| (\d{3}) \| ([A-Z_, ]+) \|$", text_of(GUIDE / "routes.md"), re.MULTILINE)
    found = {name: int(number) for number, names in told for name in names.split(", ")}
    assert found == {one.name: http_status_of(one.value) for one in Status if one is not Status.OK}


def test_readme_begins_with_the_two_commands() -> None:
    first = blocks_of(text_of(ROOT / "README.md"))[0]
    assert [line.split("#")[0].strip() for line in first.text.splitlines()] == ["make demo", "make test"]


def test_a_program_that_nothing_runs_is_found() -> None:
    page = "```python\n# a.py\n```\n```python\n# b.py\nimport a\n```\n```sh\npython c.py\n```\n"
    assert list(unused_files(blocks_of(page))) == ["b.py"]
