"""Tests marked `virtual_time` run in a loop whose timers pass at once."""

from tests.support.virtual_loops import pytest_asyncio_loop_factories, pytest_configure

__all__ = ["pytest_asyncio_loop_factories", "pytest_configure"]
