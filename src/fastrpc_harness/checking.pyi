from fastrpc._core.io.engine import Engine

def check(engine: Engine, now_ns: int) -> int:
    """Have an engine compare its instants with one of the monotonic clock; return the next one, 0 = none."""
