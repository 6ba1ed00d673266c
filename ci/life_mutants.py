"""Switch off each rule of a served connection's life, one by one: the tests of that rule must fail for every protocol.

A copy of the tree is in build/life_mutants, so that only `connection_life` is compiled again for each rule.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPY = ROOT / "build" / "life_mutants"
MODULE = Path("src/fastrpc/_core/server/connection_life.pyx")
TESTS = "tests/integration/connections/test_lives.py"

#: For each rule, a part of the module, its replacement, and the tests of the rule.
MUTANTS = {
    "counting in": (
        "return (<Gate>(<ServedConnection>self.connection).gate).add_engine(<object>self.engine)",
        "return False",
        "counted_in_and_out or too_many",
    ),
    "counting out": ("gate.engine_lost(<object>self.engine, error)", "pass", "counted_in_and_out"),
    "opening": (
        "self.opening_due_ns = now + self.handshake_ns if self.handshake_ns else 0",
        "self.opening_due_ns = 0",
        "opening_takes",
    ),
    "verdict": (
        "if gate.guards.knows_peer(engine):",
        "if True:",
        "verdict",
    ),
    "age": (
        "self.aged_at_ns = now + self.aged_at_ns if self.aged_at_ns else 0",
        "self.aged_at_ns = 0",
        "at_its_age",
    ),
    "jitter": (
        "keepalive.max_age * uniform(0.9, 1.1)",
        "keepalive.max_age",
        "different_times",
    ),
    "leaving": ("if life.leave_at_ns and now >= life.leave_at_ns:", "if False:", "outlast"),
    "drain": ("due = self.left_due()", "due = now + LOOK_NS", "drains_closes"),
    "rest": ("return used_ns + self.idle_ns if self.idle_ns else 0", "return 0", "rests_is_closed"),
    "unread input": (
        "if stream is NULL or not (<ByteStream>stream).has_unread():",
        "if True:",
        "drains_closes",
    ),
    "credentials": (
        "cdef bint is_expired = connection.expires_ns and now >= connection.expires_ns",
        "cdef bint is_expired = False",
        "with_its_credential",
    ),
    "streams with a credential": (
        "for call in connection.streams_under_way():",
        "for call in ():",
        "streams_end_with_their_credential",
    ),
    "credentials of calls": (
        "if has_lapsed(call, now):\n            text",
        "if has_lapsed(call, now) and not call.has_own_credential:\n            text",
        "credential_of_their_call",
    ),
    "weighing": ("if connection.output_held == 0:", "if True:", "until_it_has_left"),
    "lowest rate": (
        "return pace_due(began_ns, heard_ns, received) + patience_ns",
        "return heard_ns + 1_000_000 * SECOND",
        "lowest_rate",
    ),
    "untaken output": ("return now >= self.stuck_ns + self.patience_ns", "return False", "takes_no_output"),
    "stalls": (
        "return (<Gate>connection.gate).turns.note_stall(connection, now, came_ns)",
        "return 0",
        "stall_of_the_loop",
    ),
}


def copy_tree() -> None:
    """Make the copy, with all that is built, so that times of files stay as they are."""
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    for name in ("src", "tests", "ci", "setup.py", "pyproject.toml", "README.md", "build/release"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, COPY / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, COPY / name)


def build() -> None:
    environment = {**os.environ, "FASTRPC_BUILD": "release"}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(command, cwd=COPY, env=environment, check=True, capture_output=True)


def survivors(tests: str) -> set[str]:
    """Return the tests that pass, or `none ran`."""
    environment = {**os.environ, "PYTHONPATH": str(COPY / "src")}
    command = [sys.executable, "-m", "pytest", TESTS, "-q", "-rA", "-p", "no:cacheprovider", "-k", tests]
    run = subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True)
    passed = set(re.findall(r"^PASSED .*::(\S+)", run.stdout, re.MULTILINE))
    failed = re.findall(r"^FAILED .*::(\S+)", run.stdout, re.MULTILINE)
    return passed if failed else passed | {"none failed"}


def main() -> None:
    chosen = sys.argv[1:] or list(MUTANTS)
    copy_tree()
    original = (ROOT / MODULE).read_text(encoding="utf-8")
    missed = {}
    for rule in chosen:
        part, replacement, tests = MUTANTS[rule]
        if original.count(part) != 1:
            sys.exit(f"{rule}: {MODULE} has {part!r} {original.count(part)} times, it has to have it once")
        (COPY / MODULE).write_text(original.replace(part, replacement), encoding="utf-8")
        build()
        left = survivors(tests)
        print(f"{rule}: {'found in every column' if not left else ', '.join(sorted(left))}", flush=True)
        if left:
            missed[rule] = left
    shutil.rmtree(COPY)
    if missed:
        sys.exit(f"{len(missed)} of {len(chosen)} rules are not held by a test in every column")


if __name__ == "__main__":
    main()
