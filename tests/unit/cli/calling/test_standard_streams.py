"""Lines of standard input and output while the loop runs: pipes, files, long lines, slow readers."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrpc.cli.calling import standard_streams
from fastrpc.cli.calling.standard_streams import read_lines, read_lines_blocking, write_lines
from fastrpc.errors import ConfigError


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for descriptor in ends:
        # A test may have closed it.
        with contextlib.suppress(OSError):
            os.close(descriptor)


async def test_each_line_is_printed_as_soon_as_it_is_complete(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = read_lines(reader)
    os.write(writer, b"one\ntw")
    assert await anext(lines) == "one"
    second = asyncio.ensure_future(anext(lines))
    # The loop runs while it waits.
    for _ in range(10):
        await asyncio.sleep(0)
    assert not second.done()
    os.write(writer, b"o\r\n\nlast")
    os.close(writer)
    assert await second == "two"
    assert [line async for line in lines] == ["", "last"]


async def test_waiting_for_a_line_can_be_cancelled(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    waiting = asyncio.ensure_future(anext(read_lines(reader)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    os.write(writer, b"kept\n")
    assert await anext(read_lines(reader)) == "kept"


async def test_files_are_read_to_their_end(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("\n".join(map(str, range(30_000))))
    for source, count in ((path, 30_000), (Path(os.devnull), 0)):
        descriptor = os.open(source, os.O_RDONLY)
        try:
            assert [line async for line in read_lines(descriptor)] == [str(number) for number in range(count)]
        finally:
            os.close(descriptor)


def test_lines_are_read_without_a_loop_as_well(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = read_lines_blocking(reader)
    os.write(writer, b"one\ntw")
    assert next(lines) == "one"
    os.write(writer, b"o\r\n\nlast")
    os.close(writer)
    assert list(lines) == ["two", "", "last"]


async def test_line_that_is_too_long_or_no_text_is_refused(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standard_streams, "LONGEST_LINE", 10)
    reader, writer = pipe
    os.write(writer, b"ok\n\xff\n")
    lines = read_lines(reader)
    assert await anext(lines) == "ok"
    with pytest.raises(ConfigError, match="line 2 of the standard input is not UTF-8"):
        await anext(lines)
    # With and without its end.
    for data in (b"x" * 11, b"x" * 11 + b"\n"):
        os.write(writer, data)
        with pytest.raises(ConfigError, match="line 1 of the standard input has more than 10 bytes"):
            await anext(read_lines(reader))


async def test_input_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(ConfigError, match="the standard input cannot be read: Is a directory"):
            await anext(read_lines(descriptor))
    finally:
        os.close(descriptor)


async def test_slow_reader_delays_the_writer_and_not_the_loop(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = [str(number) * 10 for number in range(20_000)]
    writing = asyncio.ensure_future(write_lines(lines, writer))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not writing.done()
    source = read_lines(reader)
    assert [await anext(source) for _ in lines] == lines
    await writing


async def test_reader_that_left_is_reported(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        await write_lines(["a"], writer)


async def test_files_are_written(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    try:
        await write_lines(["a", "b" * 10_000], descriptor)
        await write_lines([], descriptor)
    finally:
        os.close(descriptor)
    assert (tmp_path / "out").read_text() == "a\n" + "b" * 10_000 + "\n"
