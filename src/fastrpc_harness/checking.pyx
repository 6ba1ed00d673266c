"""The checks that a stream makes once an instant has passed, at a chosen instant."""

from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport Engine


def check(Engine engine not None, uint64_t now_ns):
    return engine.check(now_ns)
