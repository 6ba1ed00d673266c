"""`fastrpc list REGISTRY --watch`: a line for each change."""

import json
import re
import signal
from pathlib import Path

import pytest

from fastrpc import Endpoint
from tests.integration.cli.test_cli_registry import Holder
from tests.support.program import Program, run_program

pytestmark = pytest.mark.one_loop

ADDRESS = "tcp://10.0.0.1:8972"
CLOCK = r"\d\d:\d\d:\d\d"


@pytest.fixture
def registry(tmp_path: Path) -> Program:
    with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], tmp_path) as program:
        yield program


def url_of(registry: Program) -> str:
    return registry.wait_output(r"registry at (\S+)\n")[1]


def watching(url: str, folder: Path, *options: str) -> Program:
    return Program(["-m", "fastrpc", "list", url, "--watch", *options], folder)


def test_each_change_is_a_line(registry: Program, tmp_path: Path) -> None:
    url = url_of(registry)
    with Holder(url) as first, watching(url, tmp_path) as program:
        first.register("arith", ADDRESS)
        program.wait_output(rf"{CLOCK}  arith  added  {ADDRESS}\n")
        with Holder(url) as second:
            second.place("users", Endpoint("tcp://10.0.0.2:1", weight=5, labels={"a": "b"}))
            program.wait_output(rf"{CLOCK}  users  added  tcp://10\.0\.0\.2:1  weight 5  a=b\n")
        program.wait_output(rf"{CLOCK}  users  removed  tcp://10\.0\.0\.2:1")
        registry.signal(signal.SIGKILL)
        program.wait_output(rf"{CLOCK}  registry  lost  {re.escape(url)}: ")
        program.signal(signal.SIGINT)
        assert program.wait().code == 130
        assert program.errors == ""


def test_each_change_is_an_object(registry: Program, tmp_path: Path) -> None:
    url = url_of(registry)
    with Holder(url) as holder, watching(url, tmp_path, "--json") as program:
        holder.register("arith", ADDRESS)
        line = program.wait_output(r"({.*added.*})\n")[1]
        event = json.loads(line)
        assert event.pop("time") > 0
        assert event == {
            "kind": "added",
            "service": "arith",
            "address": ADDRESS,
            "version": "",
            "zone": "",
            "weight": 1,
            "labels": {},
        }


@pytest.mark.parametrize(
    "arguments", [["tcp://127.0.0.1:1"], ["registry://127.0.0.1:1", "--compare", "lan://"]]
)
def test_watching_takes_one_registry(arguments: list[str], tmp_path: Path) -> None:
    found = run_program(["-m", "fastrpc", "list", *arguments, "--watch"], tmp_path)
    assert found.code == 2
    assert "--watch follows one registry" in found.errors
