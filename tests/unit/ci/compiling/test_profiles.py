"""The flags of single modules."""

from pathlib import Path

from ci.compiling.profiles import CORE, HARNESS, SELDOM, THOROUGH

ROOT = Path(__file__).parents[4]


def test_each_module_with_separate_flags_exists() -> None:
    core = {path.relative_to(ROOT / CORE).with_suffix("").as_posix() for path in (ROOT / CORE).rglob("*.pyx")}
    harness = {f"harness/{path.stem}" for path in (ROOT / HARNESS).glob("*.pyx")}
    assert core >= {"io/engine", "rpcx/framing"}
    assert core | harness >= SELDOM | THOROUGH


def test_no_module_has_two_sets_of_flags() -> None:
    assert len(SELDOM | THOROUGH) == len(SELDOM) + len(THOROUGH)
