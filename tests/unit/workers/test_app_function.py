"""Which functions are taken for those that return an App."""

from types import ModuleType
from typing import Any

import pytest

from fastrpc.workers.app import _makes_app

HEAD = """
import fastrpc
import fastrpc as rpc
from fastrpc import App as Application

class Settings:
    class App:
        name = "x"
"""


def made(body: str) -> Any:
    module = ModuleType("app_function")
    exec(f"{HEAD}\ndef make():\n    {body}\n", vars(module))
    return vars(module)["make"]


@pytest.mark.parametrize(
    "body",
    [
        "return fastrpc.App([])",
        "return rpc.App([])",
        "return Application([])",
        "import fastrpc; return fastrpc.App([])",
        "from fastrpc import App; return App([])",
    ],
)
def test_a_function_that_names_the_app_makes_one(body: str) -> None:
    assert _makes_app(made(body))


@pytest.mark.parametrize("body", ["return Settings.App.name", "return [Settings.App]", "return 1"])
def test_a_function_that_names_another_app_is_a_source(body: str) -> None:
    assert not _makes_app(made(body))
