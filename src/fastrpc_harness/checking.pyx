"""The checks of a stream that are due at an instant, run at an instant that the test chooses."""

from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport Engine


def check(Engine engine not None, uint64_t now_ns):
    return engine.check(now_ns)
