"""Standard input and output of a command by lines, without blocking a loop."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from fastrpc.errors import ConfigError

__all__ = ["LONGEST_LINE", "read_lines", "read_lines_blocking", "write_lines"]

#: Most bytes of a line of standard input: the default limit of a message.
LONGEST_LINE = 16 * 1024 * 1024

_READ_BYTES = 65_536

#: Bytes that a writable pipe accepts without blocking (POSIX's PIPE_BUF on Linux).
_WRITE_BYTES = 4_096


async def read_lines(descriptor: int = 0) -> AsyncIterator[str]:
    """Yield the lines of standard input without line ends, each as soon as it is complete.

    Raises:
        ConfigError: standard input cannot be read, or a line is not UTF-8, or too long.
    """
    loop = asyncio.get_running_loop()
    lines = _Lines()
    while True:
        await _ready(loop.add_reader, loop.remove_reader, descriptor)
        data = _read(descriptor)
        for line in lines.feed(data):
            yield line
        if not data:
            return


def read_lines_blocking(descriptor: int = 0) -> Iterator[str]:
    """Yield the lines of standard input; the blocking form of `read_lines`, for a thread without a loop.

    Raises:
        ConfigError: standard input cannot be read, or a line is not UTF-8, or too long.
    """
    lines = _Lines()
    while data := _read(descriptor):
        yield from lines.feed(data)
    yield from lines.feed(b"")


async def write_lines(lines: list[str], descriptor: int = 1) -> None:
    """Write lines to standard output; a slow reader does not block the loop.

    Raises:
        BrokenPipeError: the reader has closed the pipe.
    """
    loop = asyncio.get_running_loop()
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    left = memoryview("".join(f"{line}\n" for line in lines).encode(encoding, "backslashreplace"))
    while left:
        await _ready(loop.add_writer, loop.remove_writer, descriptor)
        left = left[os.write(descriptor, left[:_WRITE_BYTES]) :]


async def _ready(add: Callable[..., Any], remove: Callable[[int], Any], descriptor: int) -> None:
    """Wait until a descriptor can be read or written. A regular file always can."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        add(descriptor, _settle, ready)
    except (PermissionError, ValueError):
        # epoll refuses a regular file, which is always ready.
        return
    try:
        await ready
    finally:
        remove(descriptor)


def _settle(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


def _read(descriptor: int) -> bytes:
    # `sys.stdin` is not used: the interpreter may end while a thread reads, and data in its buffer wakes no loop.
    try:
        return os.read(descriptor, _READ_BYTES)
    except OSError as error:
        raise ConfigError(f"the standard input cannot be read: {error.strerror}") from error


class _Lines:
    """Assembles lines from received pieces."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._number = 1

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that end in this piece; empty data ends the last line."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(line)
            yield self._taken()
        self._add(rest)
        if not data and self._rest:
            yield self._taken()

    def _add(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > LONGEST_LINE:
            raise ConfigError(
                f"line {self._number} of the standard input has more than {LONGEST_LINE} bytes",
                hint="give one message on each line",
            )

    def _taken(self) -> str:
        try:
            line = self._rest.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise ConfigError(f"line {self._number} of the standard input is not UTF-8") from None
        self._rest.clear()
        self._number += 1
        return line
