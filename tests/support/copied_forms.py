"""Calls as `/docs` copies them, run in real processes as a person would run them."""

import ast
import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.program import PACKAGE_ROOT

__all__ = ["FORMS", "run_form"]

#: The names of the forms on the page that this machine can run.
FORMS = tuple(
    name for name in ("fastrpc call", "curl", "Python") if name != "curl" or shutil.which("curl") is not None
)


async def run_form(form: str, text: str, folder: Path, *, streams: bool = False, **variables: str) -> Any:
    """Run a copied text, and return the answer, or the list of messages.

    Args:
        folder: where the command `fastrpc` of this checkout is put.
        streams: whether the method streams its answers.
        variables: added to the environment.
    """
    command = folder / "fastrpc"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fastrpc "$@"\n')
    command.chmod(0o755)
    environment = os.environ | variables
    environment["PATH"] = f"{folder}:{os.environ['PATH']}"
    environment["PYTHONPATH"] = str(PACKAGE_ROOT)
    if form == "Python":
        output = await _output([sys.executable, "-c", text], environment)
        if streams:
            return [_printed(line) for line in output.splitlines()]
        return _printed(output.removesuffix("\n"))
    shell = shutil.which("sh")
    assert shell is not None
    output = await _output([shell, "-c", text], environment)
    if not streams:
        return _value(output.removesuffix("\n"))
    lines = [_value(line) for line in output.splitlines()]
    return lines if form == "fastrpc call" else [line["value"] for line in lines if "value" in line]


async def _output(words: list[str], environment: Mapping[str, str]) -> str:
    ran = await asyncio.create_subprocess_exec(
        *words,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await ran.communicate()
    assert ran.returncode == 0, (words[-1], errors.decode())
    return output.decode()


def _printed(text: str) -> Any:
    """Return the value that Python has printed, a text as it is."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _value(text: str) -> Any:
    """Return the value that a program has printed; `fastrpc call` prints a text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text
