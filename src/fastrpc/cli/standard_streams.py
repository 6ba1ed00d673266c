"""Standard input and output of a command whose loop goes on: nothing is read or written before it can be at once."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastrpc.errors import ConfigError

__all__ = ["LONGEST_LINE", "read_lines", "write_lines"]

#: Most bytes of a line of standard input: the default limit of a message.
LONGEST_LINE = 16 * 1024 * 1024

_READ_BYTES = 65_536

#: Bytes that a writable pipe takes at once (POSIX's PIPE_BUF on Linux).
_WRITE_BYTES = 4_096


async def read_lines(descriptor: int = 0) -> AsyncIterator[str]:
    """Yield the lines of standard input without their ends, each as soon as it is there.

    Raises:
        ConfigError: a line is not UTF-8, or too long.
    """
    loop = asyncio.get_running_loop()
    rest = bytearray()
    number = 0
    while True:
        await _ready(loop.add_reader, loop.remove_reader, descriptor)
        data = os.read(descriptor, _READ_BYTES)
        *lines, end = data.split(b"\n")
        for line in lines:
            number += 1
            yield _decoded(bytes(rest) + line, number)
            rest.clear()
        rest += end
        if len(rest) > LONGEST_LINE:
            raise ConfigError(
                f"line {number + 1} of the standard input has more than {LONGEST_LINE} bytes",
                hint="give one message on each line",
            )
        if not data:
            break
    if rest:
        yield _decoded(bytes(rest), number + 1)


async def write_lines(lines: list[str], descriptor: int = 1) -> None:
    """Write lines to standard output; the loop goes on while its reader is slow.

    Raises:
        BrokenPipeError: the reader is gone.
    """
    loop = asyncio.get_running_loop()
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    left = memoryview("".join(f"{line}\n" for line in lines).encode(encoding, "backslashreplace"))
    while left:
        await _ready(loop.add_writer, loop.remove_writer, descriptor)
        left = left[os.write(descriptor, left[:_WRITE_BYTES]) :]


async def _ready(add: Callable[..., Any], remove: Callable[[int], Any], descriptor: int) -> None:
    """Wait until a descriptor can be read or written; files can always."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        add(descriptor, _settle, ready)
    except (PermissionError, ValueError):
        # A regular file, which epoll refuses.
        return
    try:
        await ready
    finally:
        remove(descriptor)


def _settle(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


def _decoded(line: bytes, number: int) -> str:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise ConfigError(f"line {number} of the standard input is not UTF-8") from None
