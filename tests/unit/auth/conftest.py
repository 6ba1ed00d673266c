"""Tests of who calls: all that fastrpc logs is kept, and searched for the secrets that they plant."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _all_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fastrpc")
    caplog.set_level(logging.DEBUG, "asyncio")
