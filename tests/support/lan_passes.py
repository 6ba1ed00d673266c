"""Passes of local networks for tests: each is made once, by the `openssl` program."""

from functools import lru_cache
from pathlib import Path

from fastrpc.discovery.pass_making import new_pass
from fastrpc.tls.pass_file import Pass

__all__ = ["made_pass", "put_passes"]


@lru_cache
def made_pass(number: int, now: float | None = None) -> Pass:
    """Return a pass; each number stands for another one.

    Args:
        now: the instant of its making; None is the present.
    """
    return new_pass(now)


def put_passes(path: Path, *passes: Pass) -> Path:
    """Replace a file by one with these passes, as a copy to a machine does."""
    new = path.with_name(f"{path.name}.new")
    new.touch(mode=0o600)
    new.write_text("".join(one.text for one in passes))
    return new.replace(path)
