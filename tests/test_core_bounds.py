"""Bounds of the compiled core: depth of classes, overridden methods, sizes of files and calls."""

import re
import struct
from collections import Counter
from pathlib import Path

import pytest

from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.batch_call import BatchMember
from fastrpc._core.client.blocking_call import BlockingCall
from fastrpc._core.server.served_call import ServerCall
from tests.support import widths
from tests.support.source_tree import PACKAGE, ROOT, imports

CORE = PACKAGE / "_core"

CHAIN = 4
OVERRIDES = 2
OFTEN_OVERRIDDEN = 5
LINES = 600

# Compiled modules without a test file of their name.
UNTESTED = 8

# Larger objects do not come from Python's own allocator, which took 110 instructions more for each call of a client.
# What the collector keeps in front of an object is part of it.
POOLED_BYTES = 512
COLLECTOR_BYTES = 2 * struct.calcsize("P")

PARTS = (
    "call_slots",
    "callee_states",
    "caller_states",
    "control_frames",
    "frame_reader",
    "frame_router",
    "liveness",
    "message_assembler",
    "send_queue",
)


def test_class_chains_are_short() -> None:
    depths = {name: len(list(widths.chain_of(name))) for name in widths.bases_of()}
    assert {name: depth for name, depth in depths.items() if depth > CHAIN} == {}


def test_few_methods_are_overridden_often() -> None:
    methods = widths.own_methods()
    assert methods["SendQueue"] >= {"pump", "send_response"}
    for name in widths.bases_of():
        defined = Counter(method for part in widths.chain_of(name) for method in methods.get(part, ()))
        often = {method for method, count in defined.items() if count > OVERRIDES + 1}
        assert len(often) <= OFTEN_OVERRIDDEN, f"{name}: {sorted(often)}"


def test_parts_of_a_connection_have_no_subclasses() -> None:
    for part in PARTS:
        text = (CORE / "native" / f"{part}.pxd").read_text(encoding="utf-8")
        # Bytes on their way out are the one thing that a part is, and does not hold: each message writes there.
        # `ConnectionPart` has only the pointer to the connection. Other bases are interfaces, by which parts below it
        # reach the part.
        bases = r"Output|ConnectionPart|\w+Hooks|FrameHandler"
        assert re.search(rf"^@cython\.final\ncdef class \w+(\(({bases})\))?:$", text, re.MULTILINE), part


def test_each_part_of_a_connection_has_a_separate_test() -> None:
    folder = ROOT / "tests" / "unit" / "_core" / "native"
    assert [part for part in PARTS if not (folder / f"test_{part}.py").exists()] == []


def test_compiled_files_are_short() -> None:
    longer = {
        path.relative_to(ROOT).as_posix()
        for path in [*CORE.rglob("*.pyx"), *(ROOT / "src" / "fastrpc_harness").glob("*.pyx")]
        if len(path.read_text(encoding="utf-8").splitlines()) > LINES
    }
    assert not longer


def test_most_compiled_modules_have_a_test_file_of_their_name() -> None:
    tests = ROOT / "tests" / "unit" / "_core"
    without = [
        path.relative_to(CORE).as_posix()
        for path in sorted(CORE.rglob("*.pyx"))
        if not (tests / path.parent.name / f"test_{path.stem}.py").exists()
    ]
    assert len(without) <= UNTESTED, without


@pytest.mark.parametrize("kind", [AwaitedCall, BatchMember, BlockingCall, ServerCall])
def test_calls_come_from_pythons_own_allocator(kind: type) -> None:
    assert kind.__basicsize__ + COLLECTOR_BYTES <= POOLED_BYTES


def imported_by(path: Path, *parts: str) -> list[str]:
    """Return the imports of a module from some parts of the core."""
    prefixes = tuple(f"fastrpc._core.{part}." for part in parts)
    return [item.module for item in imports(path) if f"{item.module}.".startswith(prefixes)]


def test_byte_streams_know_no_protocol() -> None:
    streams = [*(CORE / "io").glob("*.p*"), *(CORE / "client").glob("blocking_stream.p*")]
    sources = [path for path in streams if path.suffix in {".pyx", ".pxd", ".pyi"}]
    assert len(sources) > 10
    assert [path.name for path in sources if imported_by(path, "native", "wire", "calls", "server")] == []


def test_engines_know_of_byte_streams_only_their_interface() -> None:
    engine = [path for path in (CORE / "native").glob("*.p*") if path.suffix in {".pyx", ".pxd", ".pyi"}]
    assert {module for path in engine for module in imported_by(path, "io")} == {"fastrpc._core.io.engine"}


def test_protocols_use_byte_streams_only_by_their_interface() -> None:
    server = [path for path in (CORE / "server").glob("*.p*") if path.suffix in {".pyx", ".pxd", ".pyi"}]
    found = {module for path in server for module in imported_by(path, "io")}
    assert found == {"fastrpc._core.io.engine"}
