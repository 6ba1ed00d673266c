"""Tests of who calls: all that fastrpc logs is kept, and searched for the secrets that they plant."""

import logging

import pytest

from fastrpc import watched_file


@pytest.fixture(autouse=True)
def _all_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fastrpc")
    caplog.set_level(logging.DEBUG, "asyncio")


@pytest.fixture(autouse=True)
def _files_count_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests wait for changes of files; `tests/unit/test_watched_file.py` has the seconds of users."""
    monkeypatch.setattr(watched_file, "LOOK_SECONDS", 0.1)
