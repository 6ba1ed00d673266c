"""The width of the package: each figure is today's and may only fall, until it meets its aim.

A change that lowers a figure records the lower one here. A change that would raise one needs a narrower cut: a part
that is held, with a small interface.
"""

from collections import Counter
from pathlib import Path

import pytest

from tests import test_written_once
from tests.support import widths
from tests.support.source_tree import PACKAGE, ROOT, module_name, sources

pytestmark = pytest.mark.usefixtures("forgotten_trees")

PACKAGE_CODE = [path for path in sources(".py", ".pyx", ".pxd") if PACKAGE in path.parents]
MODULES = [(module_name(path), path) for path in PACKAGE_CODE]
HARNESS_CODE = sorted((ROOT / "src" / "fastrpc_harness").glob("*.py*"))

#: The most methods of a compiled class, with its bases' and with functions that take it first.
METHODS = 70
#: Wider classes. Connections are to come below METHODS; a call or a stream stays one object.
WIDER = {
    "AwaitedCall": 144,
    "BlockingCall": 113,
    "BlockingCalledStream": 105,
    "BatchMember": 105,
    "ClientCall": 104,
    "CalledStream": 99,
    # With `note_http`, which a gateway calls for its server, and `is_under_way` for the calls of a request; with
    # `protocol_name` and `marshal`, as calls of one connection have different forms.
    "GrpcCall": 92,
    "ServerCall": 91,
    "ClientStream": 76,
    "ServedStream": 71,
}

#: A link, and the parts that it holds for its rules. `Engine` has 38 of a link's methods, and a server asks for nine
#: more.
HELD = {"Link": 53, "Leaving": 17, "Intake": 6}

#: The gate, and the parts that it holds for groups of its steps.
GATE = {"Gate": 44, "Guards": 18, "CallAdmission": 16, "StartTurns": 11, "RefusedCalls": 5, "CallCounters": 2}

#: Methods that the author of a protocol meets.
AUTHORS = {"Engine": 38, "ServedConnection": 32, "ConnectionLife": 38, "PythonWire": 31}

#: Method names that three or more engines have and `Engine` does not.
SHARED_METHODS = 16

#: Private names of other objects in `.py` (the aim is 120) and in `.pyx`. OpenTelemetry's interceptor reads the target
#: of a client, which no public name of its calls has. Replies keep the metadata of their calls as it came: a gateway
#: reads entries there that users do not see. The rules for faults and limits of grpcio are set by its layer alone.
#: Most others in `.py` are names of compiled calls, which have no public ones for their runners. Documented names, as
#: `_replace` of named tuples, and methods of a base by `super()` do not count.
FOREIGN = {".py": 115, ".pyx": 200}

#: Names that several compiled modules have; the aim is 0.
REPEATED_NAMES = 2

#: Runs of five equal lines between files of commands, clients, protocols and kinds of calls. Two are between
#: commands, which were not counted before: fields of two named tuples, lines of output. Two are the empty hooks of
#: an application in Python, which are like the empty hooks of a native connection.
RUNS_OF_FIVE = 37

#: The tables of implementations, each next to the interface that these import: their texts close no circle.
TABLES = {
    "fastrpc.codecs.base",
    "fastrpc.compressors.base",
    "fastrpc.failmodes.base",
    "fastrpc.protocols.base",
    "fastrpc.registries.base.urls",
    "fastrpc.transports.base",
    "fastrpc.types.base",
}

#: A limit is crowded when more than CROWD files have 97 % of it. Only these are, each with its count of files.
CROWD = 3
FILE_LINES = {".py": 500, ".pyx": 600}
#: The last one is `payload/marshal.pyx`, since it weighs payloads that are not scanned.
CROWDED = {".pyx": 4}


def too_wide() -> dict[str, int]:
    found = {name: len(widths.methods_of(name)) for name in widths.bases_of()}
    return {name: count for name, count in found.items() if count > METHODS}


def test_classes_get_no_wider() -> None:
    assert too_wide() == WIDER


def test_links_and_their_parts_get_no_wider() -> None:
    assert {name: len(widths.methods_of(name)) for name in HELD} == HELD


def test_the_gate_and_its_parts_get_no_wider() -> None:
    assert {name: len(widths.methods_of(name)) for name in GATE} == GATE


def test_the_author_of_a_protocol_meets_no_more_methods() -> None:
    assert {name: len(widths.own_methods()[name]) for name in AUTHORS} == AUTHORS


def test_engines_share_no_more_method_names() -> None:
    found = widths.shared_methods("Engine", 3)
    assert len(found) == SHARED_METHODS, found


@pytest.mark.parametrize("suffix", FOREIGN)
def test_private_names_of_other_objects_get_fewer(suffix: str) -> None:
    found = widths.foreign_underscores(path for path in PACKAGE_CODE if path.suffix == suffix)
    assert found.total() == FOREIGN[suffix], found.most_common(20)


def test_no_files_import_each_other() -> None:
    assert widths.circles(MODULES, TABLES) == []


def test_each_listed_table_closes_a_circle() -> None:
    assert [table for table in sorted(TABLES) if not widths.circles(MODULES, TABLES - {table})] == []


def test_compiled_modules_share_no_more_names() -> None:
    assert len(widths.repeated_names()) == REPEATED_NAMES, widths.repeated_names()


def test_rules_of_a_life_are_ordered_in_one_module() -> None:
    assert widths.life_rules() == []


def test_shorter_runs_of_equal_lines_get_fewer() -> None:
    found = test_written_once.shared_runs(test_written_once.sources_of_rooms(), run=5)
    assert len(found) == RUNS_OF_FIVE, list(found.values())


def crowded_files() -> Counter[str]:
    paths = [*PACKAGE_CODE, *HARNESS_CODE]
    lengths = ((path.suffix, len(path.read_text(encoding="utf-8").splitlines())) for path in paths)
    return Counter(
        suffix for suffix, length in lengths if suffix in FILE_LINES and length >= 0.97 * FILE_LINES[suffix]
    )


def test_files_close_to_their_limit_get_fewer() -> None:
    found = {suffix: count for suffix, count in crowded_files().items() if count > CROWD}
    assert found == CROWDED, "split files by concept, or raise the limit"


def test_methods_are_counted_once_with_bases_and_functions_of_the_module() -> None:
    assert widths.methods_of("Link") > widths.own_methods()["Engine"]
    assert "__init__" not in widths.methods_of("Gate")
    assert len(widths.methods_of("ServerConnection")) < sum(
        len(widths.own_methods()[name]) for name in widths.chain_of("ServerConnection")
    )


def test_private_names_of_other_objects_are_found(tmp_path: Path) -> None:
    text = "a._one = self._own + self.b._two + c.d._three + cls._own\n"
    python, cython = tmp_path / "a.py", tmp_path / "a.pyx"
    python.write_text(text)
    cython.write_text(text + "from fastrpc._core.io import x  # a._four\n")
    assert widths.foreign_underscores([python, cython]) == {python: 3, cython: 3}


def test_documented_names_and_methods_of_a_base_are_not_private_names_of_other_modules(
    tmp_path: Path,
) -> None:
    text = "a._replace(b=1)._asdict(); A._make(A._fields); os._exit(0)\n"
    private = "os._one(a._replaced, A._fields_of)\n"
    python, cython = tmp_path / "a.py", tmp_path / "a.pyx"
    python.write_text(text + private + "super()._next()\n")
    cython.write_text(text + private)
    assert widths.foreign_underscores([python, cython]) == {python: 3, cython: 3}


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d", "f"}, "f": {"g"}}
    assert [group for group in widths.connected_groups(graph) if len(group) > 1] == [
        {"a", "b", "c"},
        {"d", "e"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "from fastrpc.registries.dns import open_dns",
        "def late():\n    from fastrpc.registries.dns import open_dns",
        "TABLE = {'dns': 'fastrpc.registries.dns:open_dns'}",
    ],
)
def test_a_planted_circle_is_found(tmp_path: Path, text: str) -> None:
    here, there = tmp_path / "static.py", tmp_path / "dns.py"
    here.write_text(text)
    there.write_text("from fastrpc.registries.static import open_static")
    files = [("fastrpc.registries.static", here), ("fastrpc.registries.dns", there)]
    assert widths.circles(files) == [["fastrpc.registries.dns", "fastrpc.registries.static"]]


def test_texts_of_a_listed_table_close_no_circle(tmp_path: Path) -> None:
    here, there = tmp_path / "static.py", tmp_path / "dns.py"
    here.write_text("TABLE = {'dns': 'fastrpc.registries.dns:open_dns'}")
    there.write_text("from fastrpc.registries.static import open_static")
    files = [("fastrpc.registries.static", here), ("fastrpc.registries.dns", there)]
    assert widths.circles(files, {"fastrpc.registries.static"}) == []
