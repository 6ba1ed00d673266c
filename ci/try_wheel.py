"""Try an installed wheel with only its declared dependencies: run by ci/wheel in an empty environment.

Given the README, with the extra `cli` installed, it runs the first service there as printed.
"""

import asyncio
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import fastrpc
from fastrpc import _core


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


async def call_over_tcp() -> int:
    async with fastrpc.Server(Arith()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with fastrpc.Client(str(address)) as client:
            return await client.call(Arith.mul, 6, 7)


def run_first_service(readme: Path) -> None:
    """Run the blocks of the README's first service, and compare their output."""
    section = readme.read_text().partition("## First service")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (script,) = (text for language, text in blocks if language == "sh")
    (printed,) = (text for language, text in blocks if language == "text")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        for language, text in blocks:
            if language == "python":
                Path(folder, text.split()[1]).write_text(text)
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    if done.stdout != printed:
        sys.exit(f"wheel: the README's first service printed\n{done.stdout}{done.stderr}")
    print("wheel: the README's first service prints what the README says")


def main() -> None:
    walked = pkgutil.walk_packages(_core.__path__, "fastrpc._core.")
    modules = [found.name for found in walked if not found.ispkg]
    for name in modules:
        importlib.import_module(name)
    answer = asyncio.run(call_over_tcp())
    if answer != 42:
        sys.exit(f"wheel: 6 × 7 is {answer} over tcp")
    print(
        f"wheel: {len(modules)} compiled modules of {fastrpc.__file__} load, and a call over tcp is answered"
    )
    for readme in sys.argv[1:]:
        run_first_service(Path(readme))


if __name__ == "__main__":
    main()
