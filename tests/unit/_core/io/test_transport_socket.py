"""The transports whose sockets are written to past them."""

import importlib

import pytest

from fastrpc._core.io.layer import PLAIN_TRANSPORTS


@pytest.mark.parametrize(("module", "name"), sorted(PLAIN_TRANSPORTS))
def test_each_plain_transport_is_a_class_of_its_loop(module: str, name: str) -> None:
    # None of these is public: a renamed one would send all output through the transport, unnoticed.
    kind = getattr(importlib.import_module(module), name)
    assert isinstance(kind, type)
    assert (kind.__module__, kind.__name__) == (module, name)


def test_no_transport_that_encrypts_is_plain() -> None:
    names = {name for _, name in PLAIN_TRANSPORTS}
    assert not {name for name in names if "SSL" in name or "Pipe" in name}
