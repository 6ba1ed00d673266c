"""The compiled modules and the command that builds them; everything else about the package is in pyproject.toml."""

import os
import sys
from pathlib import Path

from setuptools import find_packages, setup

# Front ends run this file from elsewhere.
sys.path.insert(0, str(Path(__file__).parent))

from ci.compiling.command import build_command
from ci.compiling.leftovers import CopyModules
from ci.compiling.profiles import HARNESS, extensions_of
from ci.compiling.quiet import leave_out_files

NAMED = os.environ.get("FASTRPC_BUILD") or None
PROFILE = NAMED or "release"
# Modules that only tests and benchmarks need are compiled for builds that name their profile, as builds of ci do: no
# wheel contains them.
WITH_HARNESS = NAMED not in (None, "none")

leave_out_files()
setup(
    package_dir={"": "src"},
    packages=find_packages(
        "src", include=["fastrpc", "fastrpc.*", *([HARNESS.name] if WITH_HARNESS else [])]
    ),
    ext_modules=extensions_of(PROFILE, with_harness=WITH_HARNESS),
    cmdclass={"build_ext": build_command(PROFILE), "build_py": CopyModules},
    # A tree for each profile, so that two profiles are never mixed.
    options={"build": {"build_base": f"build/{PROFILE}"}},
)
