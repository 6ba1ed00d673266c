"""The extension list and the build profiles; everything else about the package is in pyproject.toml."""

import itertools
import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

PROFILE = os.environ.get("FASTRPC_BUILD", "release")
CORE = Path("src/fastrpc/_core")
HARNESS = Path("src/fastrpc_harness")
# What tests and benchmarks need compiled is for builds that name their profile, as those of ci do: no wheel has it.
PACKAGES = (
    ["fastrpc", "fastrpc.*"] if "FASTRPC_BUILD" not in os.environ else ["fastrpc", "fastrpc.*", HARNESS.name]
)

# What Cython adds to every module that needs it, such as its type of functions, is in one module for all of them.
SHARED = "fastrpc._core._shared"

STRIP = ["-Wl,-s", "-Wl,--gc-sections", "-Wl,--build-id=none"] if sys.platform == "linux" else []
# As fast as -O3 within what can be measured, and the wheel a sixth smaller. Only debuggers unwind these frames, and for
# them there are other profiles. Calls of CPython go straight to it, without a table of jumps in each module.
FAST = ["-O2", "-g0", "-ffunction-sections", "-fno-asynchronous-unwind-tables", "-fno-plt", "-fno-ident"]
# Texts as they are: a wheel is compressed as a whole, and they need nothing that unpacks them on import.
PLAIN = {"CYTHON_WITHOUT_ASSERTIONS": "1", "CYTHON_COMPRESS_STRINGS": "0"}
# What runs once per connection or less, after faults, for refusals, for readers of counters: as small as it gets.
RARE = {
    "admission",
    "breaker",
    "frame",
    "histogram",
    "metadata",
    "nearest_name",
    "openings",
    "preface",
    "settings",
    "transport_socket",
}
WARNINGS = ["-Wall", "-Wno-unused-function"]
CHECKS: dict[str, object] = {"boundscheck": True, "wraparound": True, "initializedcheck": True}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

# Profile: compiler arguments, linker arguments, macros, Cython directives.
PROFILES: dict[str, tuple[list[str], list[str], dict[str, str], dict[str, object]]] = {
    "release": (FAST, STRIP, PLAIN, {}),
    # The release with the names of its functions, for perf and callgrind.
    "profile": (["-O2", "-g", "-fno-plt"], [], PLAIN, {}),
    # The release without its counters and histograms: what `ci/promises counters` compares with.
    "uncounted": (FAST, STRIP, {**PLAIN, "FASTRPC_UNCOUNTED": "1"}, {}),
    "debug": (["-O0", "-g3", "-UNDEBUG"], [], {}, CHECKS),
    "sanitize": (["-O1", "-g", "-fno-omit-frame-pointer", "-fno-wrapv", *SANITIZERS], SANITIZERS, {}, {}),
    "coverage": (["-O0", "-g0"], [], {"CYTHON_TRACE": "1", "CYTHON_TRACE_NOGIL": "1"}, {"linetrace": True}),
    # Nothing but the harness: for the tests of an installed wheel, see ci/compile_harness.py.
    "harness": (FAST, STRIP, PLAIN, {}),
    # No extensions at all: for an editable installation whose extensions `make` then builds in place.
    "none": ([], [], {}, {}),
}
compile_arguments, link_arguments, macros, directives = PROFILES[PROFILE]
GENERATED = Path(f"build/{PROFILE}/cython")


def extension(name: str, source: Path) -> Extension:
    """Describe one compiled module; of `SHARED` Cython writes the source itself."""
    return Extension(
        name,
        [str(source)],
        include_dirs=[str(CORE)],
        depends=["setup.py", *sorted(map(str, CORE.rglob("*.h")))],
        define_macros=list(macros.items()),
        extra_compile_args=[
            *compile_arguments,
            *(["-Os"] if source.stem in RARE and compile_arguments is FAST else []),
            *(WARNINGS if sys.platform != "win32" else []),
        ],
        extra_link_args=link_arguments,
    )


class CountedBuild(build_ext):
    """Counts the modules that are compiled, in lines as Cython prints them: `ci/build` shows the last one."""

    #: Shared by the threads of a parallel build.
    compiled = itertools.count(1)

    def build_extension(self, ext: Extension) -> None:
        super().build_extension(ext)
        sys.stdout.write(f"[{next(self.compiled)}/{len(self.extensions)}] Compiled {ext.name}\n")
        sys.stdout.flush()


def settings_changed() -> bool:
    """Return whether this file is newer than any generated source: Cython compares those with its own sources only."""
    changed = Path("setup.py").stat().st_mtime
    generated = [GENERATED / Path(source).with_suffix(".c") for each in extensions for source in each.sources]
    return any(file.exists() and file.stat().st_mtime < changed for file in generated)


extensions = [
    extension(".".join(path.with_suffix("").parts[1:]), path) for path in sorted(CORE.rglob("*.pyx"))
]
harness = [extension(f"{HARNESS.name}.{path.stem}", path) for path in sorted(HARNESS.glob("*.pyx"))]
extensions.append(extension(SHARED, CORE / "_shared.c"))
if PROFILE == "harness":
    extensions = harness
elif HARNESS.name in PACKAGES:
    extensions += harness
if PROFILE == "sanitize":
    # Faults on purpose, compiled with the same flags: ci/sanitize proves with them that faults are seen.
    extensions.append(extension("planted_faults", Path("ci/planted_faults.pyx")))

if __name__ == "__main__":  # Worker processes of cythonize may import this file again.
    setup(
        package_dir={"": "src"},
        packages=find_packages("src", include=PACKAGES),
        ext_modules=[]
        if PROFILE == "none"
        else cythonize(
            extensions,
            build_dir=str(GENERATED),
            force=settings_changed() or None,
            nthreads=os.cpu_count() or 1,
            shared_utility_qualified_name=SHARED,
            module_name=SHARED,  # Of the shared module only; without it that would also be a top-level `_shared`.
            shared_utility_features_disabled=["AutoPickle", "MemoryView"],  # What no module uses.
            compiler_directives={
                "language_level": 3,
                "boundscheck": False,
                "wraparound": False,
                "cdivision": True,
                "initializedcheck": False,
                # No cost that can be measured, and misuse raises instead of crashing.
                "nonecheck": True,
                "auto_pickle": False,
                **directives,
            },
        ),
        cmdclass={"build_ext": CountedBuild},
        # A tree for each profile, so that one never mixes with another.
        options={"build": {"build_base": f"build/{PROFILE}"}, "build_ext": {"parallel": os.cpu_count() or 1}},
    )
