"""The extension list and the build profiles: flags, macros and directives of each compiled module."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from setuptools import Extension

__all__ = [
    "CORE",
    "DIRECTIVES",
    "HARNESS",
    "PROFILES",
    "SHARED",
    "Profile",
    "extensions_of",
    "fruitless_arguments",
]

CORE = Path("src/fastrpc/_core")
HARNESS = Path("src/fastrpc_harness")

#: Cython's shared code, such as its type of functions, is in one module, which all modules use.
SHARED = "fastrpc._core._shared"

STRIP = ["-Wl,-s", "-Wl,--gc-sections", "-Wl,--build-id=none"] if sys.platform == "linux" else []
# Measurably as fast as -O3, and the wheel is a sixth smaller. No unwind tables of either kind: only debuggers unwind
# these frames, and have other profiles; a wheel by clang is 4 % smaller. No PLT: calls of CPython are direct, without a
# table of jumps in each module. No fused multiply-add, which aarch64 has and which skips a rounding: a breaker's times
# are the same everywhere.
FAST = [
    *("-O2", "-g0", "-ffunction-sections", "-fno-plt", "-fno-ident", "-ffp-contract=off"),
    *("-fno-asynchronous-unwind-tables", "-fno-unwind-tables"),
]
# Texts are uncompressed: a wheel is compressed as a whole, and they need no unpacking on import.
PLAIN = {"CYTHON_WITHOUT_ASSERTIONS": "1", "CYTHON_COMPRESS_STRINGS": "0"}
# Modules by their place in the core.
# Seldom run: once per connection or less, for monitoring, for engines in Python, or after a call failed or was
# refused. Compiled in half the time.
SELDOM = {
    "balancing/breaker",
    "balancing/endpoint_health",
    "balancing/endpoint_set",
    "base/histogram",
    "base/nearest_name",
    "calls/call_log",
    "calls/calling_part",
    "client/blocking_state",
    "client/call_errors",
    "client/calling_engine",
    "client/client_connection",
    "exchange/exchange",
    "http/messages",
    "http/rpcx_headers",
    "http/service",
    "http/stream_request",
    "io/client_life",
    "io/engine",
    "io/layer",
    "io/tls_blocking_io",
    "link/contract",
    "link/failure",
    "loop/polling",
    "loop/turns",
    "native/control_frames",
    "native/liveness",
    "payload/hash_flood",
    "server/access",
    "server/admission",
    "server/connection_life",
    "server/engine_served_connection",
    "server/guards",
    "server/openings",
    "server/served_connection",
    "server/python_wire",
    "server/refused_calls",
    "server/server_connection",
    "server/start_turns",
    "wire/frame",
    "wire/settings",
}
# Loops over bytes, and the few steps of every message: compiled with all optimisations of gcc. Of the harness only the
# measured modules; gcc spends no time on the other ones.
THOROUGH = {
    "balancing/hash_ring",
    "base/timer_wheel",
    "client/batch_call",
    "client/own_calls",
    "harness/echo_connection",
    "harness/hot_loops",
    "harness/http2_exchange",
    "exchange/request_head",
    "http1/body",
    "http1/head",
    "http2/frames",
    "http2/hpack",
    "native/call_table",
    "native/frame_reader",
    "payload/prescan",
    "payload/prescan_protobuf",
    "rpcx/frames",
    "websocket/frames",
    "wire/native",
}
# On other platforms these optimisations find next to nothing in Cython's output, and take a sixth of the time.
FRUITLESS = [
    *("caller-saves", "code-hoisting", "gcse", "ipa-cp", "ipa-icf", "ipa-modref", "ipa-pure-const", "ipa-ra"),
    *("ipa-reference", "ipa-sra", "rerun-cse-after-loop", "schedule-insns2", "tree-loop-optimize"),
    *("tree-loop-vectorize", "tree-pre", "tree-pta", "tree-slp-vectorize", "tree-tail-merge"),
]
WARNINGS = ["-Wall", "-Wno-unused-function"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

DIRECTIVES: dict[str, object] = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    # No cost that can be measured, and misuse raises instead of crashing.
    "nonecheck": True,
    "auto_pickle": False,
    # Lines of the source in the generated C take a tenth of the time to write and to read it.
    "emit_code_comments": False,
}
CHECKS: dict[str, object] = {"boundscheck": True, "wraparound": True, "initializedcheck": True}
#: Coverage finds the lines by those comments.
TRACED: dict[str, object] = {"linetrace": True, "emit_code_comments": True}


@dataclass(frozen=True)
class Profile:
    """How a build compiles, links and translates."""

    compile_arguments: list[str]
    link_arguments: list[str]
    macros: dict[str, str]
    directives: dict[str, object] = field(default_factory=dict)
    #: Whether modules contain no path of their build folder, so that builds can share them.
    is_shared: bool = False


PROFILES = {
    "release": Profile(FAST, STRIP, PLAIN, is_shared=True),
    # The release with the names of its functions, for perf and callgrind.
    "profile": Profile(["-O2", "-g", "-fno-plt"], [], PLAIN),
    # The release without its counters and histograms: `ci/promises counters` compares the release with it.
    "uncounted": Profile(FAST, STRIP, {**PLAIN, "FASTRPC_UNCOUNTED": "1"}, is_shared=True),
    "debug": Profile(["-O0", "-g3", "-UNDEBUG"], [], {}, CHECKS),
    "sanitize": Profile(["-O1", "-g", "-fno-omit-frame-pointer", "-fno-wrapv", *SANITIZERS], SANITIZERS, {}),
    "coverage": Profile(["-O0", "-g0"], [], {"CYTHON_TRACE": "1", "CYTHON_TRACE_NOGIL": "1"}, TRACED),
    # Nothing but the harness: for the tests of an installed wheel, see ci/compile_harness.py.
    "harness": Profile(FAST, STRIP, PLAIN, is_shared=True),
    # No extensions at all: for an editable installation whose extensions `make` then builds in place.
    "none": Profile([], [], {}),
}


def extensions_of(name: str, *, with_harness: bool) -> list[Extension]:
    """Return the compiled modules of a profile; Cython writes the source of `SHARED`."""
    if name not in PROFILES:
        raise SystemExit(f"FASTRPC_BUILD is {name!r}, it must be one of {', '.join(PROFILES)}")
    profile = PROFILES[name]
    if name == "none":
        return []
    core = [_extension(_module_of(path), path, profile) for path in sorted(CORE.rglob("*.pyx"))]
    core.append(_extension(SHARED, CORE / "_shared.c", profile))
    harness = [
        _extension(f"{HARNESS.name}.{path.stem}", path, profile) for path in sorted(HARNESS.glob("*.pyx"))
    ]
    if name == "harness":
        return harness
    if name == "sanitize":
        # Deliberate faults, compiled with the same flags: by them ci/sanitize proves that faults are detected.
        core.append(_extension("planted_faults", Path("ci/planted_faults.pyx"), profile))
    return core + harness if with_harness else core


def fruitless_arguments(extension: Extension) -> list[str]:
    """Return the arguments that spare gcc passes without effect on a module; other compilers do not know these."""
    place = _place_of(Path(extension.sources[0]))
    if "-O2" not in extension.extra_compile_args or place in THOROUGH or _level_of(place):
        return []
    return [f"-fno-{name}" for name in FRUITLESS]


def _module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts[1:])


def _place_of(source: Path) -> str:
    """Return a module's place in the core, such as `http2/frames`, by which the sets above name it."""
    if source.is_relative_to(CORE):
        return source.relative_to(CORE).with_suffix("").as_posix()
    return f"harness/{source.stem}"


def _level_of(place: str) -> list[str]:
    """Return the level of optimisation of a module that has a separate one."""
    if place.startswith("harness/"):
        return [] if place in THOROUGH else ["-O0"]
    return ["-Og"] if place in SELDOM else []


def _extension(name: str, source: Path, profile: Profile) -> Extension:
    level = _level_of(_place_of(source)) if profile.compile_arguments is FAST else []
    return Extension(
        name,
        [str(source)],
        include_dirs=[str(CORE)],
        define_macros=list(profile.macros.items()),
        extra_compile_args=[
            *profile.compile_arguments,
            *level,
            *(WARNINGS if sys.platform != "win32" else []),
        ],
        extra_link_args=profile.link_arguments,
    )
