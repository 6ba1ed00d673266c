"""No secret of the settings reaches a page, a log or an error: one is planted in each setting that may hold one."""

import asyncio
import contextlib
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import CallError, Client, ConfigError, FastRPCError
from fastrpc.cli.settings import known_keys
from fastrpc.registries.base.urls import open_registry
from fastrpc.server.admin.pages import TABLES
from fastrpc.server.admin.state import HARMLESS
from tests.support.admin_pages import fetch
from tests.support.certificates import Authority
from tests.support.program import Finished, Program, command_line, run_program
from tests.support.source_tree import ROOT

pytestmark = pytest.mark.one_loop

PAGES = ("/", "/metrics", *sorted(TABLES), "/nothing")

#: Values of calls, which the log of the program may show and no page may.
OF_CALLS = ("planted-argument", "planted-result", "planted-log-argument", "planted-waiting")

#: A record that the program itself writes: `/logs` has the records of all loggers under `fastrpc run`.
OWN_RECORD = "the owner of planted-argument: planted-log-argument"

#: Settings of `fastrpc run` and of ServerConfig that hold no secret and name no file.
PLAIN = {
    *("app", "address", "workers", "worker_timeout", "max_calls", "advertise"),
    *("log_level", "log_format", "otel", "control", "http.mounts"),
    *("zone", "region", "latitude", "longitude", "label", "weight"),
    *("addresses.allow", "addresses.deny"),
    *("connection_rate.rate", "connection_rate.burst", "connection_rate.per"),
}

#: The other settings: each has its secret in the program below.
PLANTED = {
    "admin_token": "planted-admin-token",
    "admin_operators": "planted-operator-token",
    "registry": "planted-registry-token",
    "store": "planted-store-token",
    "broker": "planted-broker-token",
    "tokens": "planted-caller-token",
    "policy": "planted-rule",
    "tls.cert_file": "planted-cert",
    "tls.key_file": "planted-key",
    "tls.key_password": "planted-password",
    "tls.ca_file": "planted-authority",
    "tls.crl_file": "planted-revoked",
    "tls.server_name": "planted-name",
    "tls.server_identities": "spiffe://planted-identity",
}

#: Options of a registry's URL that are secrets; the other ones name files, networks and times.
SECRET_OPTIONS = {"token", "password"}
OTHER_OPTIONS = {
    *(
        "ca_file",
        "cache_file",
        "cert_file",
        "check",
        "dc",
        "key_file",
        "layout",
        "master",
        "networks",
        "refresh",
    ),
    *("schemes", "server_name", "tag", "timeout", "tls", "token_file", "ttl", "allow_insecure"),
    *("base", "creds_file", "db", "manage", "password_file", "user"),
    # An address whose user and password are refused.
    "server",
    *("family", "interface", "port", "scheme"),
}

#: Variables of the environment with secrets; `fastrpc run` has one for each setting as well.
SECRET_VARIABLES = {
    "CONSUL_HTTP_TOKEN": "planted-consul-token",
    "FASTRPC_TOKEN": "planted-own-token",
    "OTEL_EXPORTER_OTLP_HEADERS": "planted-header",
    "DATABASE_URL": "planted-of-the-program",
}
OTHER_VARIABLES = {
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"),
    *("OTEL_SDK_DISABLED", "WEB_CONCURRENCY", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"),
    *("FASTRPC_LAN_KEY_FILE", "FASTRPC_LAN_PASS", "FASTRPC_PROVIDER", "XDG_RUNTIME_DIR"),
    # A token in its URL is planted by the setting `registry`.
    "FASTRPC_REGISTRY",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    *("FASTRPC_CONFIG", "FASTRPC_ZONE", "FASTRPC_REGION", "FASTRPC_LATITUDE", "FASTRPC_LONGITUDE"),
}

APP = """
import asyncio
import logging
import os

import fastrpc
from fastrpc.interceptors import AccessLog


@fastrpc.service("bank")
class Bank:
    @fastrpc.method
    async def balance(self, account: str) -> int:
        return 5

    @fastrpc.method
    async def owner(self, account: str) -> str:
        logging.getLogger("bank").warning("the owner of %s: %s", account, "planted-log-argument")
        return "planted-result"

    @fastrpc.method
    async def wait(self, account: str) -> None:
        await asyncio.Event().wait()

    @fastrpc.method
    async def broken(self, account: str) -> int:
        raise LookupError("no database")


app = fastrpc.App([Bank], interceptors=[AccessLog()])
"""

TOKENS = """
[[token]]
token = "planted-caller-token"
name = "ada"
"""

POLICY = """
[[rule]]
who = ["ada"]
allow = ["bank.*"]

[[rule]]
who = ["planted-rule"]
allow = ["bank.*"]
"""


def found_in(*texts: str) -> list[str]:
    """Return the planted secrets that stand in these texts."""
    secrets = [*PLANTED.values(), *SECRET_VARIABLES.values(), "planted-wrong", "planted-metadata"]
    return [secret for secret in secrets for text in texts if secret in text]


def test_each_setting_is_known_to_be_harmless_or_has_a_planted_secret() -> None:
    doubtful = {key for key in known_keys() if key not in PLAIN and key.rpartition(".")[2] not in HARMLESS}
    assert doubtful == PLANTED.keys()


@pytest.mark.parametrize(
    "url",
    [
        *("registry://127.0.0.1:1", "consul://127.0.0.1:1", "etcd://127.0.0.1", "dns://127.0.0.1"),
        *("static://127.0.0.1:1", "kubernetes://shop?server=http://127.0.0.1", "redis://127.0.0.1"),
        *("nats://127.0.0.1", "zookeeper://127.0.0.1"),
    ],
)
def test_each_option_of_a_registry_is_known(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_registry(f"{url}{'&' if '?' in url else '?'}nothing=planted-registry-token")
    options = set(str(caught.value.hint).removeprefix("there are ").split(", "))
    assert {"networks", "schemes"} <= options
    assert options <= SECRET_OPTIONS | OTHER_OPTIONS
    assert "planted" not in str(caught.value)


def test_each_variable_that_the_package_reads_is_known() -> None:
    read = {
        name
        for path in (ROOT / "src" / "fastrpc").rglob("*.py")
        for name in re.findall(
            r"""environ(?:ment)?(?:\.get\(|\.pop\(|\[)\s*f?["']([A-Z_{}]+)["']""", path.read_text()
        )
    }
    assert {"CONSUL_HTTP_TOKEN", "NOTIFY_SOCKET"} <= read
    assert {name for name in read if "{" not in name} <= SECRET_VARIABLES.keys() | OTHER_VARIABLES


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program, and with files whose names and contents are planted."""
    folder = tmp_path_factory.mktemp("secrets")
    authority = Authority(folder)
    server = authority.certificate(password=PLANTED["tls.key_password"])
    (folder / "planted-cert.pem").write_bytes(server.cert_file.read_bytes())
    (folder / "planted-key.pem").write_bytes(server.key_file.read_bytes())
    (folder / "planted-authority.pem").write_bytes(authority.cert_file.read_bytes())
    (folder / "planted-revoked.pem").write_bytes(authority.revocations().read_bytes())
    (folder / "served.py").write_text(APP)
    (folder / "tokens.toml").write_text(TOKENS)
    (folder / "operators.toml").write_text(TOKENS.replace("caller", "operator"))
    (folder / "policy.toml").write_text(POLICY)
    return folder


def toml(registry: str) -> str:
    return f"""
app = "served:app"
address = "tls://127.0.0.1:0"
admin_address = "tcp://127.0.0.1:0"
admin_token = "planted-admin-token"
admin_operators = "operators.toml"
registry = "{registry}"
store = "store://127.0.0.1:1?token=planted-store-token"
broker = "broker://127.0.0.1:1?token=planted-broker-token"
tokens = "tokens.toml"
policy = "policy.toml"
log_level = "debug"

[timeouts]
announce = 0.0

[tls]
cert_file = "planted-cert.pem"
key_file = "planted-key.pem"
key_password = "planted-password"
ca_file = "planted-authority.pem"
crl_file = "planted-revoked.pem"
server_name = "planted-name"
server_identities = ["spiffe://planted-identity"]
"""


@contextlib.contextmanager
def registry_with_tokens(folder: Path) -> Iterator[str]:
    """Start a registry that demands the planted token, and yield its URL with it."""
    (folder / "registered.toml").write_text(TOKENS.replace("planted-caller-token", PLANTED["registry"]))
    arguments = ["registry", "--address", "tcp://127.0.0.1:0", "--tokens", "registered.toml"]
    with command_line(arguments, folder) as program:
        url = program.wait_output(r"registry at (\S+)")[1]
        yield f"{url}?token={PLANTED['registry']}"
        assert found_in(program.output, program.errors) == []


@contextlib.contextmanager
def registry_that_is_away(folder: Path) -> Iterator[str]:
    """Yield the URL of a Consul agent that is not there."""
    yield f"consul://127.0.0.1:1?token={PLANTED['registry']}"


async def ask_all(program: Program, folder: Path) -> list[str]:
    """Make calls that succeed, fail and are refused, and return every page."""
    admin = int(program.wait_errors(r"admin pages at tcp://127\.0\.0\.1:(\d+)")[1])
    target = program.wait_output(r"(tls://127\.0\.0\.1:\d+)")[1]
    config = _trusting(folder)
    async with Client(target, credentials=PLANTED["tokens"], config=config) as client:
        assert await client.call("bank.owner", "planted-argument") == "planted-result"
        waiting = asyncio.ensure_future(
            client.with_options(timeout=None).call("bank.wait", "planted-waiting")
        )
        pages = await _ask_pages(admin)
        with contextlib.suppress(FastRPCError):
            await client.call("bank.broken", "planted-argument")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    for token in (PLANTED["tokens"], "planted-wrong"):
        async with Client(target, credentials=token, config=config) as client:
            for method in ("bank.balance", "bank.broken", "bank.nothing", "other.planted"):
                view = client.with_options(
                    metadata={"cookie": "planted-metadata", "key-bin": b"planted-metadata"}
                )
                with contextlib.suppress(FastRPCError):
                    await view.call(method, "planted-metadata")
            with contextlib.suppress(FastRPCError):
                own = client.with_options(metadata={"authorization": "Bearer planted-wrong"})
                await own.call("bank.balance", "a")
    return pages + await _ask_pages(admin)


async def _ask_pages(admin: int) -> list[str]:
    """Return each page in each form, with the token of the pages and with a wrong one."""
    pages = []
    for path in PAGES:
        for accepted in ("application/json", "text/html", "*/*"):
            for token in (PLANTED["admin_token"], "planted-wrong"):
                answer = await asyncio.to_thread(
                    fetch, admin, path, Accept=accepted, Authorization=f"Bearer {token}"
                )
                pages.append(f"{answer.headers}{answer.text}")
    return pages


def _trusting(folder: Path) -> Any:
    from fastrpc import ClientConfig
    from fastrpc.config import TLS

    tls = TLS(
        cert_file=folder / "planted-cert.pem",
        key_file=folder / "planted-key.pem",
        key_password=PLANTED["tls.key_password"],
        ca_file=folder / "planted-authority.pem",
    )
    return ClientConfig(tls=tls)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("registry", [registry_with_tokens, registry_that_is_away])
async def test_no_page_and_no_log_holds_a_secret(
    registry: Callable[[Path], contextlib.AbstractContextManager[str]],
    workers: int,
    log_format: str,
    settings: Path,
) -> None:
    with registry(settings) as url:
        (settings / "fastrpc.toml").write_text(toml(url))
        arguments = ["run", "--config", "fastrpc.toml", "--workers", str(workers), "--log-format", log_format]
        with command_line(arguments, settings, SECRET_VARIABLES) as program:
            pages = await ask_all(program, settings)
            (settings / "tokens.toml").write_text("planted-caller-token = ")
            try:
                program.signal(signal.SIGHUP)
                told = (
                    "cannot be used, the old content stays"
                    if workers == 1
                    else "could not start|cannot be used"
                )
                await asyncio.to_thread(program.wait_errors, told)
            finally:
                (settings / "tokens.toml").write_text(TOKENS)
            program.signal(signal.SIGTERM)
            ended = await asyncio.to_thread(program.wait)
    assert "no database" in ended.errors
    assert "balance(account: str)" in "".join(pages)
    assert found_in(ended.output, ended.errors, *pages) == []
    assert any(OWN_RECORD in page for page in pages)
    shown = [page.replace(OWN_RECORD, "") for page in pages]
    assert [secret for secret in OF_CALLS for page in shown if secret in page] == []


#: Mistakes in each setting, as lines of TOML; the start fails, and its error shows no secret.
MISTAKES = {
    "admin_token": ["admin_token = 1234567890", 'admin_token = ["{secret}"]', 'admin_token = "two {secret}"'],
    "registry": [
        'registry = [["consul://127.0.0.1:1?token={secret}"]]',
        'registry = ["consul://127.0.0.1:1?token={secret}", "consul://127.0.0.1:1?token={secret}"]',
        'registry = ["static://127.0.0.1:1", "consul://127.0.0.1:1?nothing={secret}"]',
        'registry = "consul:127.0.0.1:1?token={secret}"',
        'registry = "consul://user:{secret}@127.0.0.1:1"',
        'registry = "etcd://user:{secret}@127.0.0.1:1"',
        'registry = "etcd://127.0.0.1:1?password={secret}"',
        'registry = "nats://10.0.0.1:1?token={secret}"',
        'registry = "redis://10.0.0.1:1?user=a&password={secret}"',
        'registry = "zookeeper://10.0.0.1:1?user=a&password={secret}"',
        'registry = "consul://127.0.0.1:1?token={secret}&token={secret}"',
        'registry = "consul://127.0.0.1:1?token={secret}%0A"',
        'registry = "registry://10.0.0.1:1?token={secret}"',
        'registry = "registry://127.0.0.1:1?token={secret}%20"',
        'registry = "consul://127.0.0.1:1/bank?token={secret}"',
    ],
    "store": [
        'store = ["store://127.0.0.1:1?token={secret}"]',
        'store = "store:127.0.0.1:1?token={secret}"',
        'store = "memory://user:{secret}@shop"',
        'store = "memory://shop?token={secret}"',
        'store = "sqlite:///shop?password={secret}"',
    ],
    "broker": [
        'broker = ["broker://127.0.0.1:1?token={secret}"]',
        'broker = "broker:127.0.0.1:1?token={secret}"',
        'broker = "broker://10.0.0.1:1?token={secret}"',
        'broker = "memory://user:{secret}@shop"',
        'broker = "memory://shop?token={secret}"',
        'broker = "sqlite:///shop?password={secret}"',
        'broker = "nats://10.0.0.1:1?token={secret}"',
        'broker = "redis://10.0.0.1:1?user=a&password={secret}"',
    ],
    "tokens": ['tokens = "broken-tokens.toml"', 'tokens = "odd-tokens.toml"'],
    "policy": ['policy = "broken-policy.toml"'],
    "tls.key_password": ["[tls]\nkey_password = 1234567890", '[tls]\nkey_password = "{secret}"'],
    "tls.key_file": ['[tls]\nkey_file = "planted-key.pem"'],
}


@pytest.mark.parametrize(("key", "line"), [(key, line) for key, lines in MISTAKES.items() for line in lines])
def test_no_error_holds_a_secret(key: str, line: str, settings: Path, tmp_path: Path) -> None:
    for file in settings.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "broken-tokens.toml").write_text('[[token]]\ntoken = "planted-caller-token')
    (tmp_path / "odd-tokens.toml").write_text('[[token]]\nplanted-caller-token = "ada"\n')
    (tmp_path / "broken-policy.toml").write_text(TOKENS)
    secret = PLANTED[key]
    (tmp_path / "mistaken.toml").write_text('app = "served:app"\n' + line.replace("{secret}", secret))
    ended: Finished = run_program(["-m", "fastrpc", "run", "--config", "mistaken.toml"], tmp_path)
    assert ended.code in (2, 3), ended
    assert "Traceback" not in ended.errors
    shown = ended.output + ended.errors
    assert "1234567890" not in shown
    if key != "tls.key_file":
        assert secret not in shown


@pytest.mark.parametrize(
    "target",
    [
        "consul://user:planted-registry-token@127.0.0.1:1/bank",
        "consul:127.0.0.1:1/bank?token=planted-registry-token",
        "etcd://user:planted-registry-token@127.0.0.1:1/bank",
        "etcd://127.0.0.1:1/bank?password=planted-registry-token",
        "redis://:planted-registry-token@127.0.0.1:1/bank",
        "redis://10.0.0.1:1/bank?password=planted-registry-token",
        "nats://10.0.0.1:1/bank?token=planted-registry-token",
        "nats://127.0.0.1:1/bank?user=a&password=planted-registry-token&creds_file=b",
        "zookeeper://10.0.0.1:1/bank?user=a&password=planted-registry-token",
        "dns://user:planted-registry-token@127.0.0.1:1",
        "kubernetes://shop/bank?server=https://user:planted-registry-token@127.0.0.1:1",
        "kubernetes://shop/bank?server=http://10.0.0.1&token=planted-registry-token",
        "tcp://user:planted-registry-token@127.0.0.1:1",
        "tcp://planted-registry-token@127.0.0.1:1",
        "tcp://127.0.0.1:1?token=planted-registry-token",
        "registry://10.0.0.1:1/bank?token=planted-registry-token",
        "registry://127.0.0.1:1?token=planted-registry-token",
    ],
)
@pytest.mark.parametrize("registry", [None, "consul://127.0.0.1:1?token=planted-registry-token"])
def test_no_error_of_a_client_holds_a_secret(target: str, registry: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        Client(target, registry=registry)
    assert "planted" not in f"{caught.value} {caught.value.hint}"


async def test_a_client_of_a_registry_shows_no_secret_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with Client("bank", registry="consul://127.0.0.1:1?token=planted-registry-token") as client:
        with pytest.raises(FastRPCError) as caught:
            await client.with_options(timeout=5).call("bank.balance")
        shown = f"{client!r} {caught.value!r} {caught.value} {client.stats()}"
    assert "planted" not in shown + caplog.text
    assert not isinstance(caught.value, CallError)
