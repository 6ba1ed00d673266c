"""`fastrpc registry` with tokens and rules, and the programs and commands that show it a token."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.certificates import Authority
from tests.support.program import Finished, Program, run_program

pytestmark = pytest.mark.one_loop

APP = """
import os

import fastrpc


@fastrpc.service(os.environ.get("SERVICE", "shop.pay"))
class Pay:
    @fastrpc.method
    async def amount(self) -> int:
        return 7


def make() -> fastrpc.App:
    return fastrpc.App(Pay, registry=os.environ["OWN_REGISTRY"])
"""

TOKENS = "\n".join(
    f'[[token]]\ntoken = "token-of-{name}"\nname = "{name}"' for name in ("shop", "ann", "eve")
)
POLICY = """
[[rule]]
who = ["shop"]
register = ["shop.**"]

[[rule]]
who = ["ann", "shop"]
read = ["**"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    texts = {"pay.py": APP, "tokens.toml": TOKENS, "policy.toml": POLICY, "has space&": "token-of-ann"}
    texts |= {one: f"token-of-{one}\n" for one in ("shop", "ann", "eve", "nobody")}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def registry(folder: Path) -> Iterator[str]:
    options = ["-a", "tcp://127.0.0.1:0", "--tokens", "tokens.toml", "--policy", "policy.toml", "--json"]
    with Program(["-m", "fastrpc", "registry", *options], folder) as program:
        yield json.loads(program.wait_output(r"(.*)\n")[1])["urls"][0]


def command(folder: Path, *arguments: str, **environment: str) -> Finished:
    return run_program(["-m", "fastrpc", *arguments], folder, environment)


def running(folder: Path, *arguments: str, **environment: str) -> Program:
    return Program(["-m", "fastrpc", "run", *arguments, "-a", "tcp://127.0.0.1:0"], folder, environment)


@pytest.fixture(scope="module")
def address(folder: Path, registry: str) -> Iterator[str]:
    """A server that is registered there."""
    with running(folder, "pay:Pay", "--registry", f"{registry}?token_file=shop") as program:
        yield program.wait_output(r"serving at (\S+)")[1]


@pytest.mark.parametrize("options", [("--token-file", "ann"), ("--token-file", "has space&")])
def test_commands_show_a_registry_the_token_of_a_file(
    folder: Path, registry: str, address: str, options: tuple[str, ...]
) -> None:
    listed = command(folder, "list", registry, *options)
    assert (listed.code, "shop.pay" in listed.output, address in listed.output) == (0, True, True)
    assert command(folder, "health", f"{registry}/shop.pay", *options).code == 0
    assert command(folder, "call", registry, "shop.pay.amount", *options).output == "7\n"


def test_commands_show_a_registry_the_token_of_the_environment(
    folder: Path, registry: str, address: str
) -> None:
    assert address in command(folder, "list", registry, "shop.pay", FASTRPC_TOKEN="token-of-ann").output
    done = command(
        folder, "call", f"{registry}/shop.pay?ttl=5", "shop.pay.amount", FASTRPC_TOKEN="token-of-ann"
    )
    assert (done.code, done.output) == (0, "7\n")


def test_the_token_in_a_url_counts_more_than_the_option(folder: Path, registry: str, address: str) -> None:
    url = f"{registry}?token_file={quote('has space&')}"
    assert address in command(folder, "list", url, "--token-file", "eve").output
    assert (
        "shop.pay" not in command(folder, "list", f"{registry}?token_file=eve", "--token-file", "ann").output
    )


def test_a_list_has_nothing_that_may_not_be_read(folder: Path, registry: str, address: str) -> None:
    listed = command(folder, "list", registry, "--token-file", "eve")
    assert (listed.code, listed.output) == (0, "no services\n")
    # The refusal comes at once, not when the time for an answer is over.
    asked = command(folder, "list", registry, "shop.pay", "--token-file", "eve", "--timeout", "3600")
    assert (asked.code, asked.output) == (1, "")
    assert "eve may not read 'shop.pay'" in asked.errors
    assert 'hint: a rule of the registry\'s policy gives the right: read = ["…"]' in asked.errors


def test_a_list_is_refused_at_once_where_the_token_is_not_known(
    folder: Path, registry: str, address: str
) -> None:
    asked = command(folder, "list", registry, "shop.pay", "--token-file", "nobody", "--timeout", "3600")
    assert (asked.code, asked.output) == (1, "")
    assert "the credential is not accepted" in asked.errors
    assert "hint: show a token that the server knows" in asked.errors


@pytest.mark.parametrize(
    ("options", "told"),
    [((), "the caller is not authenticated"), (("--token-file", "nobody"), "the credential is not accepted")],
)
def test_without_a_known_token_a_registry_tells_nothing(
    folder: Path, registry: str, address: str, options: tuple[str, ...], told: str
) -> None:
    listed = command(folder, "list", registry, *options)
    assert (listed.code, listed.output) == (1, "")
    assert told in listed.errors
    assert "hint: show a token that the server knows: --token-file FILE" in listed.errors


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("", "not authenticated"),
        ("?token_file=nobody", "credential is not accepted"),
        ("?token_file=eve", "eve may not register 'shop.pay'"),
        ("?token_file=nowhere", "the token file 'nowhere' cannot be read"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_may_not_register_does_not_start(
    folder: Path, registry: str, option: str, told: str, workers: str
) -> None:
    url = f"{registry}{option}"
    done = command(
        folder, "run", "pay:Pay", "-a", "tcp://127.0.0.1:0", "--registry", url, "--workers", workers
    )
    assert (done.code, done.output) == (2 if "nowhere" in option else 3, "")
    assert told in done.errors


class TestApps:
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_an_app_registers_at_the_registry_that_it_hosts(
        self, folder: Path, registry: str, workers: str
    ) -> None:
        own = f"{registry}?token_file=shop"
        with running(folder, "pay:make", "--workers", workers, OWN_REGISTRY=own) as program:
            served = program.wait_output(r"serving at (\S+)")[1]
            assert served in command(folder, "list", registry, "--token-file", "ann").output

    def test_the_option_wins_over_the_registry_of_an_app(self, folder: Path, registry: str) -> None:
        given = ("--registry", f"{registry}?token_file=shop")
        with running(folder, "pay:make", *given, OWN_REGISTRY="registry://127.0.0.1:9") as program:
            served = program.wait_output(r"serving at (\S+)")[1]
            assert served in command(folder, "list", registry, "--token-file", "ann").output

    def test_an_app_can_be_advertised_elsewhere(self, folder: Path, registry: str) -> None:
        own, told = f"{registry}?token_file=shop", "tcp://127.0.0.1:4321"
        with running(folder, "pay:make", "--advertise", told, OWN_REGISTRY=own) as program:
            program.wait_output(r"serving at (\S+)")
            assert told in command(folder, "list", registry, "--token-file", "ann").output

    def test_listening_everywhere_needs_an_address_to_advertise(self, folder: Path, registry: str) -> None:
        done = command(folder, "run", "pay:make", "-a", "tcp://0.0.0.0:0", OWN_REGISTRY=registry)
        assert (done.code, done.output) == (2, "")
        assert "hint: name the address that clients dial: --advertise tcp://" in done.errors

    def test_a_wrong_registry_of_an_app_is_reported(self, folder: Path) -> None:
        done = command(folder, "run", "pay:make", "-a", "tcp://127.0.0.1:0", OWN_REGISTRY="nowhere://h:1")
        assert (done.code, done.output) == (3, "")
        assert "no registry has the scheme 'nowhere'" in done.errors

    def test_a_development_server_registers_nothing(self, folder: Path, registry: str) -> None:
        arguments = ["-m", "fastrpc", "dev", "pay:make", "-a", "tcp://127.0.0.1:0"]
        # Its name, as its port may be the port of a killed server whose record is still kept.
        own = {"OWN_REGISTRY": f"{registry}?token_file=shop", "SERVICE": "shop.sketch"}
        with Program(arguments, folder, own) as program:
            program.wait_output(r"serving at (\S+)")
            listed = command(folder, "list", registry, "--token-file", "ann")
        assert (listed.code, "shop.sketch" in listed.output) == (0, False)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--policy", "policy.toml"), "--policy is given without --tokens: no caller would have a right"),
        (("--tokens", "nowhere"), "the file of tokens 'nowhere' cannot be read"),
        (("--tokens", "policy.toml"), "the file of tokens 'policy.toml'"),
        (("--tokens", "tokens.toml", "--policy", "nowhere"), "the policy 'nowhere' cannot be read"),
        (("--tokens", "tokens.toml", "--policy", "exact.toml"), "read has 'shop.pay'"),
        (("--tokens", "tokens.toml", "--policy", "anonymous.toml"), "rule 1 gives anonymous callers a right"),
        (("--tls-cert", "ann"), "--tls-cert encrypts nothing: no address is tls://"),
    ],
)
def test_a_registry_with_wrong_files_tells_which_and_does_not_start(
    folder: Path, options: tuple[str, ...], told: str
) -> None:
    (folder / "exact.toml").write_text('[[rule]]\nwho = ["ann"]\nread = ["shop.pay"]')
    (folder / "anonymous.toml").write_text('[[rule]]\nwho = ["anonymous"]\nread = ["**"]')
    done = command(folder, "registry", "-a", "tcp://127.0.0.1:0", *options)
    assert (done.code, done.output) == (2, "")
    assert told in done.errors


def test_a_registry_takes_tokens_over_tls(folder: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.certificate()
    options = [
        "-a",
        "tls://127.0.0.1:0",
        "--tls-cert",
        str(shown.cert_file),
        "--tls-key",
        str(shown.key_file),
    ]
    options += ["--tokens", "tokens.toml", "--policy", "policy.toml", "--json"]
    with Program(["-m", "fastrpc", "registry", *options], folder) as program:
        url = json.loads(program.wait_output(r"(.*)\n")[1])["urls"][0]
        ca = ("--ca", str(authority.cert_file))
        own = f"{url}&token_file=shop&ca_file={authority.cert_file}"
        with running(folder, "pay:Pay", "--registry", own) as server:
            served = server.wait_output(r"serving at (\S+)")[1]
            assert served in command(folder, "list", url, *ca, "--token-file", "ann").output
            assert command(folder, "list", url, *ca).code == 1
