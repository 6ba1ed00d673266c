"""What a stream does when an instant has passed, at an instant of one's choice."""

from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport Engine


def check(Engine engine not None, uint64_t now_ns):
    return engine.check(now_ns)
