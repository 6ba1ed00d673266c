"""Compile the modules that the tests need, for an installed wheel: into the packages of the running interpreter."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    subprocess.run(
        [
            sys.executable,
            "setup.py",
            "--quiet",
            "build_ext",
            "--build-lib",
            sysconfig.get_path("platlib"),
            "--build-temp",
            "build/harness/temp",
        ],
        cwd=ROOT,
        env={**os.environ, "FASTRPC_BUILD": "harness"},
        check=True,
    )


if __name__ == "__main__":
    main()
