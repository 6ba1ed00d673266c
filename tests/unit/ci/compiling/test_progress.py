"""The lines that a build writes while it runs."""

import io

from ci.compiling.progress import Progress, about, duration


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(stream: io.StringIO, count: int, seconds: float) -> list[str]:
    """Build modules of a size each, in the given number of seconds, and return the output."""
    clock = Clock()
    progress = Progress([10_000] * count, 2, "build/release/build.log", stream, clock)
    progress.start()
    for _ in range(count):
        clock.now += seconds / count
        progress.advance(10_000)
    progress.finish(taken=0)
    return stream.getvalue().splitlines()


def test_a_file_gets_a_line_at_the_start_and_one_a_tenth() -> None:
    lines = lines_of(io.StringIO(), 115, seconds=120)
    assert lines[0].startswith("compiling 0 of 115, about ")
    assert lines[1] == "compiling 12 of 115, about 2 minutes; log: build/release/build.log"
    assert lines[-2:] == [
        "compiling 104 of 115, about 10 seconds; log: build/release/build.log",
        "compiled 115 modules in 2 min 0 s",
    ]
    assert len(lines) == 11


def test_a_terminal_shows_every_module_in_one_line() -> None:
    screen = Terminal()
    lines_of(screen, 115, seconds=120)
    shown = screen.getvalue()
    assert shown.count("\n") == 1
    assert shown.count("\rcompiling ") == 115
    assert shown.endswith("\rcompiled 115 modules in 2 min 0 s\x1b[K\n")


def test_a_build_of_one_module_writes_two_lines() -> None:
    assert len(lines_of(io.StringIO(), 1, seconds=1)) == 2


def test_modules_from_the_cache_are_counted_separately() -> None:
    stream = io.StringIO()
    progress = Progress([1000], 2, "log", stream, Clock())
    progress.finish(taken=131)
    assert stream.getvalue() == "compiled 1 modules in 0 s, 131 from the cache\n"


def test_times_are_rounded_as_people_round_them() -> None:
    assert [about(seconds) for seconds in (3, 12, 44, 57, 80, 100)] == [
        "a few seconds",
        "about 10 seconds",
        "about 40 seconds",
        "about 1 minute",
        "about 1 minute",
        "about 2 minutes",
    ]
    assert [duration(seconds) for seconds in (0.4, 59.4, 61)] == ["0 s", "59 s", "1 min 1 s"]
