"""The extension list and the build profiles; everything else about the package is in pyproject.toml."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = Path("src/fastrpc/_core")
EXTENSIONS = tuple(sorted(path.stem for path in CORE.glob("*.pyx")))

PROFILES = {
    "release": (["-O3", "-g0"], [], {}),
    "debug": (["-O0", "-g3"], [], {"boundscheck": True, "nonecheck": True, "wraparound": True}),
}
compile_args, link_args, directives = PROFILES[os.environ.get("FASTRPC_BUILD", "release")]

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"fastrpc._core.{name}",
                [str(CORE / f"{name}.pyx")],
                include_dirs=[str(CORE)],
                extra_compile_args=[*compile_args, "-Wno-unused-function"],
                extra_link_args=link_args,
            )
            for name in EXTENSIONS
        ],
        build_dir="build/cython",
        nthreads=0,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "nonecheck": False,
            **directives,
        },
    ),
)
