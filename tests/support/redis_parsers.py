"""The parsers of redis-py: its own, and the one that it has with the package hiredis."""

import functools
from typing import Any

import pytest

from fastrpc.registries.redis import server

__all__ = ["PARSERS", "use_parser"]

PARSERS = ["redis-py", "hiredis"]


def use_parser(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have new connections read answers by a parser; skip the test where it is not installed."""
    if name == "hiredis":
        pytest.importorskip("hiredis", reason="hiredis is not installed")
        from redis._parsers import _HiredisParser as Parser
    else:
        from redis._parsers import _RESP2Parser as Parser
    connection: Any = functools.partial(server._Bounded, parser_class=Parser)
    monkeypatch.setattr(server, "_Bounded", connection)
