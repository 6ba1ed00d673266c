"""`fastrpc relay`, and `fastrpc run` and `fastrpc call` with `relay://`."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.certificates import Authority
from tests.support.ports import free_ports
from tests.support.program import Finished, Program, run_program

pytestmark = pytest.mark.one_loop

APP = """
import fastrpc


@fastrpc.service("shop")
class Shop:
    @fastrpc.method
    async def double(self, number: int) -> int:
        return 2 * number


app = Shop
"""

TOKENS = '[[token]]\ntoken = "token-of-edge"\nname = "edge"\n'
POLICY = '[[rule]]\nwho = ["edge"]\nrelay = ["edge-*"]\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relay")
    authority = Authority(folder)
    made = authority.certificate("DNS:localhost,DNS:edge-7.localhost,DNS:shop.localhost")
    texts = {"shop.py": APP, "tokens.toml": TOKENS, "policy.toml": POLICY, "token": "token-of-edge\n"}
    texts |= {"ca.pem": authority.cert_file.read_text()}
    texts |= {"cert.pem": made.cert_file.read_text(), "key.pem": made.key_file.read_text()}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


RELAY = ["relay", "--name", "localhost", "-a", "tls://127.0.0.1:0", "--json"]
CERTIFICATE = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"]


@pytest.fixture(scope="module")
def relay(folder: Path) -> Iterator[str]:
    options = [*RELAY, *CERTIFICATE, "--tokens", "tokens.toml", "--policy", "policy.toml"]
    with Program(["-m", "fastrpc", *options], folder) as program:
        yield json.loads(program.wait_output(r"(.*)\n")[1])["urls"][0]


def serving(folder: Path, address: str, *options: str) -> list[str]:
    return ["-m", "fastrpc", "run", "shop:app", "-a", address, *CERTIFICATE, "--json", *options]


def called(folder: Path, target: str, *options: str) -> Finished:
    arguments = ["call", target, "shop.double", "21", "--ca", "ca.pem", *options]
    return run_program(["-m", "fastrpc", *arguments], folder)


def test_a_program_behind_a_relay_is_called(folder: Path, relay: str) -> None:
    address = f"{relay}/edge-7?ca_file=ca.pem"
    with Program(serving(folder, address, "--token-file", "token"), folder) as program:
        assert json.loads(program.wait_output(r"(.*)\n")[1])["addresses"] == [f"{relay}/edge-7"]
        found = called(folder, f"{relay}/edge-7")
        assert (found.code, found.output.strip()) == (0, "42")
        away = called(folder, f"{relay}/edge-8")
        assert away.code != 0
        assert "it does not know the host name" in away.errors


def test_metrics_are_shown_by_name(folder: Path) -> None:
    pytest.importorskip("prometheus_client")
    (port,) = free_ports(1)
    options = [*RELAY, *CERTIFICATE, "--tokens", "tokens.toml", "--admin-address", f"tcp://127.0.0.1:{port}"]
    with Program(["-m", "fastrpc", *options], folder) as program:
        relay = json.loads(program.wait_output(r"(.*)\n")[1])["urls"][0]
        place = f"{relay}/edge-7?ca_file=ca.pem"
        with Program(serving(folder, place, "--token-file", "token"), folder) as served:
            served.wait_output(r"(.*)\n")
            assert called(folder, f"{relay}/edge-7").code == 0
            with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
                shown = page.read().decode()
    assert 'fastrpc_relay_pairs_total{name="edge-7"} 1.0' in shown
    assert 'fastrpc_relay_bytes_total{direction="in",name="edge-7"}' in shown
    assert "fastrpc_relay_names 1.0" in shown
    assert 'fastrpc_relay_refused_total{reason="away"} 0.0' in shown


def test_a_claim_without_right_ends_the_program(folder: Path, relay: str) -> None:
    options = ("?ca_file=ca.pem&token_file=token", "?ca_file=ca.pem")
    for place, reason in zip(
        ("/shop", "/edge-7"),
        ('gives it relay = ["shop"]', "hint: give the server its token: ?token_file=FILE"),
        strict=True,
    ):
        found = run_program(serving(folder, relay + place + options[place == "/edge-7"]), folder)
        assert found.code != 0
        assert "the relay refuses" in found.errors
        assert reason in found.errors


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([*RELAY], "--tls-cert is missing"),
        ([*RELAY, *CERTIFICATE], "--tokens is missing"),
        (["relay", "--name", "localhost", "-a", "tcp://127.0.0.1:0"], "is not encrypted"),
        (
            ["relay", "--name", "a b", *CERTIFICATE, "--tokens", "tokens.toml"],
            "is not a host name of a relay",
        ),
        (["run", "shop:app", "-a", "relay://localhost:1/a"], "ServerConfig.tls is None"),
        (["run", "shop:app", "-a", "relay://localhost:1/a", "-w", "2", *CERTIFICATE], "by several processes"),
        (
            ["run", "shop:app", "-a", "tcp://127.0.0.1:0", "--token-file", "token"],
            "--token-file has no effect",
        ),
        (["run", "shop:app", "-a", "relay://localhost:1/a?x=1", *CERTIFICATE], "has no option 'x'"),
    ],
)
def test_options_that_cannot_work_are_refused(options: list[str], reason: str, folder: Path) -> None:
    found = run_program(["-m", "fastrpc", *options], folder)
    assert found.code != 0
    assert reason in found.errors, found
