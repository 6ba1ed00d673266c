"""`fastrpc run` with wrong settings: code 2, and the key of the file or the variable to correct."""

from pathlib import Path

import pytest

from tests.support.program import run_program

APP = """
import fastrpc


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "server.py").write_text(APP)
    return tmp_path


ERRORS = [
    ("codecs", '["xml"]', "xml", "{}: no codec is called 'xml'; there are"),
    ("admin_address", '"xyz"', "xyz", "{}: 'xyz' is not an address"),
    ("admin_address", '"memory://a"', "memory://a", "{} is 'memory://a', it must begin with tcp://"),
    ("ready_needs_registry", "true", "true", "{} is set, but admin_address is None"),
    ("worker_timeout", "0.1", "0.1", "{} is 0.1, it must be between 1 and 86400 seconds"),
    ("tokens", '"gone.toml"', "gone.toml", "{}: the file of tokens 'gone.toml' cannot be read"),
    ("registry", '"pigeon://h"', "pigeon://h", "{}: pigeon://h: no registry has the scheme 'pigeon'"),
    ("tls.cert_file", '"gone.pem"', "gone.pem", "{} encrypts nothing: no address is tls://"),
    ("http.jsonrpc", "true", "true", "{} is set, and HTTP is not served"),
]


@pytest.mark.parametrize(("key", "value", "text", "error"), ERRORS)
def test_a_wrong_setting_is_named_by_its_place(
    folder: Path, key: str, value: str, text: str, error: str
) -> None:
    arguments = ["-m", "fastrpc", "run", "server:Arith", "-a", "tcp://127.0.0.1:0"]
    variable = f"FASTRPC_{key.replace('.', '_').upper()}"
    done = run_program(arguments, folder, {variable: text})
    assert (done.code, f"error: {error.format(variable)}" in done.errors) == (2, True), done.errors
    (folder / "wrong.toml").write_text(f"{key} = {value}\n")
    done = run_program([*arguments, "--config", "wrong.toml"], folder)
    section, _, name = key.rpartition(".")
    place = f"wrong.toml: [{section}] {name}" if section else f"wrong.toml: {name}"
    assert (done.code, f"error: {error.format(place)}" in done.errors) == (2, True), done.errors
    assert "Traceback" not in done.errors


def test_certificates_of_the_admin_pages_alone_are_no_mistake(folder: Path) -> None:
    environment = {"FASTRPC_TLS_CERT_FILE": "gone.pem", "FASTRPC_ADMIN_ADDRESS": "tls://127.0.0.1:0"}
    done = run_program(
        ["-m", "fastrpc", "run", "server:Arith", "-a", "tcp://127.0.0.1:0"], folder, environment
    )
    assert done.code == 2
    assert "FASTRPC_TLS_CERT_FILE is 'gone.pem'" in done.errors
