"""Fixtures of tests that read real servers."""

import pytest

from fastrpc.console import acts, reading
from fastrpc.server.admin import acts as server_acts


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server that a busy machine holds up answer later than a console waits."""
    for module in (acts, reading):
        monkeypatch.setattr(module, "HELD_SECONDS", 30.0)
    monkeypatch.setattr(server_acts, "REGISTRY_SECONDS", 30.0)
