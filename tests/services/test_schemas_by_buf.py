"""Our .proto files, and the changes between two of them, as buf reads and judges them."""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fastrpc.cli.contracts.message_changes import message_changes
from fastrpc.rpc.protobuf.packages import packages_of
from fastrpc.rpc.protobuf.text import proto_text
from fastrpc.rpc.service import service_definition
from tests.support.every_type import EveryType
from tests.support.market import Market
from tests.unit.cli.contracts.test_check import described
from tests.unit.cli.contracts.test_message_changes import CAT, COLOR, COW, HEAD, IN_ONE, item, one

BUF = shutil.which("buf", path=str(Path(sys.executable).parent))

pytestmark = pytest.mark.skipif(BUF is None, reason="buf is not installed; `make services` installs it")

_numbers = itertools.count()

#: Changes that only one of the two calls a break, with the reason.
APART = {
    "a member of an enum is renamed": "buf compares numbers; to us a caller means another member by it",
    "a text becomes bytes": "what the server sends may be no text, which a caller of the old version expects",
    "bytes become a text in an answer": "every text is bytes, so a caller of the old version reads it",
    "a union gets a member": "the message that holds it has another name, which is not on the wire",
    "a class is renamed": "the name of a message is not on the wire",
    "a new field is required": "protobuf has no required fields; a server in Python refuses a message without it",
    "an enum becomes an int in a request": "every member of an enum is an int",
}

CHANGES = {
    "nothing": (item("a: int"), item("a: int")),
    "a field is appended": (item("a: int"), item("a: int", "b: str")),
    "a list is appended": (item("a: int"), item("a: int", "b: list[int]")),
    "a map is appended": (item("a: int"), item("a: int", "b: dict[str, int]")),
    "an optional field is appended": (item("a: int"), item("a: int", "b: int | None = None")),
    "an optional message is appended": (CAT + item("a: int"), CAT + item("a: int", "b: Cat | None = None")),
    "a new field is required": (CAT + item("a: int"), CAT + item("a: int", "b: Cat")),
    "the last field is removed": (item("a: int", "b: str"), item("a: int")),
    "the first field is removed": (item("a: int", "b: str"), item("b: str")),
    "a numbered field is removed": (item("a: int", "b: Annotated[str, Field(9)]"), item("a: int")),
    "two fields change places": (item("a: int", "b: str"), item("b: str", "a: int")),
    "two numbered fields change places": (
        item("a: Annotated[int, Field(1)]", "b: Annotated[str, Field(2)]"),
        item("b: Annotated[str, Field(2)]", "a: Annotated[int, Field(1)]"),
    ),
    "a field is put in front": (item("a: int"), item("x: str", "a: int")),
    "a field gets another number": (item("a: int"), item("a: Annotated[int, Field(5)]")),
    "a field is renamed": (item("a: int"), item("b: int")),
    "a field gets a default": (item("a: int"), item("a: int = 5")),
    "a field may be None": (item("a: int"), item("a: int | None")),
    "a field moves into a oneof": (one("int | None = None"), one(IN_ONE)),
    "a field moves out of a oneof": (one(IN_ONE), one("int | None = None")),
    "a field of a oneof is appended": (
        item(f"a: {IN_ONE}"),
        item(f"a: {IN_ONE}", "b: Annotated[str | None, Field(oneof='x')] = None"),
    ),
    "an int becomes a text": (one("int"), one("str")),
    "an int becomes a float": (one("int"), one("float")),
    "an int becomes a bool": (one("int"), one("bool")),
    "an int becomes a uint32": (one("int"), one("Annotated[int, Field(kind='uint32')]")),
    "an int becomes a uint64": (one("int"), one("Annotated[int, Field(kind='uint64')]")),
    "an int becomes a sint64": (one("int"), one("Annotated[int, Field(kind='sint64')]")),
    "an int becomes a fixed64": (one("int"), one("Annotated[int, Field(kind='fixed64')]")),
    "a sint32 becomes a sint64": (
        one("Annotated[int, Field(kind='sint32')]"),
        one("Annotated[int, Field(kind='sint64')]"),
    ),
    "a fixed32 becomes a sfixed32": (
        one("Annotated[int, Field(kind='fixed32')]"),
        one("Annotated[int, Field(kind='sfixed32')]"),
    ),
    "a fixed64 becomes a sfixed64": (
        one("Annotated[int, Field(kind='fixed64')]"),
        one("Annotated[int, Field(kind='sfixed64')]"),
    ),
    "a fixed32 becomes a fixed64": (
        one("Annotated[int, Field(kind='fixed32')]"),
        one("Annotated[int, Field(kind='fixed64')]"),
    ),
    "a double becomes a float": (one("float"), one("Annotated[float, Field(kind='float')]")),
    "a text becomes bytes": (one("str"), one("bytes")),
    "bytes become a text": (one("bytes"), one("str")),
    "a text becomes a UUID": (one("str"), one("uuid.UUID")),
    "a value becomes a list": (one("int"), one("list[int]")),
    "a list becomes a tuple": (one("list[int]"), one("tuple[int, ...]")),
    "a list becomes a map": (one("list[int]"), one("dict[str, int]")),
    "a map gets other keys": (one("dict[str, int]"), one("dict[int, int]")),
    "a map gets other values": (one("dict[str, int]"), one("dict[str, str]")),
    "an instant becomes a duration": (one("datetime.datetime"), one("datetime.timedelta")),
    "an enum gets a member": (one("Color", COLOR), one("Color", COLOR + "    GREEN = 'g'\n")),
    "an enum loses a member": (one("Color", COLOR), one("Color", COLOR.replace("    BLUE = 'b'\n", ""))),
    "a member of an enum is renamed": (one("Color", COLOR), one("Color", COLOR.replace("BLUE", "GREEN"))),
    "an enum becomes an int": (one("Color", COLOR), one("int", COLOR)),
    "a union gets a member": (one("Cat | Dog", CAT), one("Cat | Dog | Cow", CAT + COW)),
    "a union loses a member": (one("Cat | Dog | Cow", CAT + COW), one("Cat | Dog", CAT + COW)),
    "a union becomes a class": (one("Cat | Dog", CAT), one("Cat", CAT)),
    "a field within a field changes": (one("Cat", CAT), one("Cat", CAT.replace("x: int", "x: str"))),
    "a class is renamed": (
        one("Cat", CAT),
        one("Cow", CAT + COW.replace("z: int", "x: int").replace("tag=True", "tag='Cat'")),
    ),
}


def buf(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert BUF is not None
    return subprocess.run(
        [BUF, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def schema(code: str) -> str:
    """Return the .proto file of a service whose method takes and returns an item."""
    module = ModuleType(f"judged_{next(_numbers)}")
    sys.modules[module.__name__] = module
    source = (
        "import datetime, enum, uuid, msgspec, fastrpc\nfrom dataclasses import dataclass\nfrom typing import Any\n"
        f"{HEAD}{code}\n@fastrpc.service('shop.v1.s')\nclass S:\n"
        "    @fastrpc.method\n    async def f(self, item: Item) -> Item: ...\n"
    )
    exec(source, vars(module))
    (package,) = packages_of([service_definition(vars(module)["S"])])
    assert package.failures == []
    return proto_text(package)


def project(folder: Path, text: str) -> Path:
    """Write a module of buf with one file."""
    (folder / "shop" / "v1").mkdir(parents=True)
    (folder / "buf.yaml").write_text("version: v2\nbreaking:\n  use: [WIRE]\n")
    (folder / "shop" / "v1" / "s.proto").write_text(text)
    return folder


def ours(old: str, new: str) -> bool:
    """Return whether we call a change a break of callers."""
    body = "@method\nasync def f(self, item: Item) -> Item: ..."
    found = message_changes(described(body, HEAD + old), described(body, HEAD + new))
    return any(not change.is_compatible for change in found)


@pytest.mark.parametrize("name", CHANGES)
def test_buf_calls_the_same_changes_a_break(tmp_path: Path, name: str) -> None:
    old, new = CHANGES[name]
    before, after = project(tmp_path / "old", schema(old)), project(tmp_path / "new", schema(new))
    found = buf(after, "breaking", "--against", str(before))
    assert found.returncode in {0, 100}, found.stderr
    theirs = found.returncode == 100
    assert (ours(old, new) == theirs) is (name not in APART), found.stdout


def test_there_are_enough_changes_on_both_sides() -> None:
    breaks = [name for name, (old, new) in CHANGES.items() if ours(old, new)]
    assert len(CHANGES) >= 40
    assert 15 <= len(breaks) <= len(CHANGES) - 15


@pytest.mark.parametrize("source", [Market, EveryType])
def test_buf_accepts_our_proto_files(tmp_path: Path, source: type[Any]) -> None:
    (package,) = packages_of([service_definition(source)])
    found = buf(project(tmp_path / "made", proto_text(package)), "build")
    assert (found.returncode, found.stderr) == (0, "")
