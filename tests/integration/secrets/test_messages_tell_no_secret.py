"""No log, metric or page of a broker or of its subscribers shows a value, a header or a token of messages."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from fastrpc import BrokerError, ConfigError, EncodeError
from fastrpc.brokers import open_broker
from tests.support.admin_pages import fetch
from tests.support.program import Program, command_line
from tests.support.scrapes import samples_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

PAGES: Final = (
    *("/", "/metrics", "/calls", "/connections", "/services", "/config", "/store"),
    *("/messages", "/nothing"),
)

TOKENS: Final = """
[[token]]
token = "planted-token"
name = "shop"
"""

POLICY: Final = """
[[rule]]
who = ["shop"]
publish = ["orders.**"]
subscribe = ["orders.**"]
groups = ["**"]
manage = ["orders.**"]
"""

APP: Final = """
from dataclasses import dataclass

import fastrpc
from fastrpc import Backoff, CallError, Message, Status
from fastrpc.interceptors import AccessLog

SOON = Backoff(first=0.01, factor=1, longest=0.01)


@dataclass
class Order:
    card: str


@fastrpc.service("billing")
class Billing:
    @fastrpc.subscriber("orders.new", backoff=SOON, deliveries=2, start="oldest")
    async def bill(self, message: Message[Order]) -> None:
        if message.key == "retried":
            raise LookupError("no database")
        if message.key == "dead":
            raise CallError(Status.INVALID_ARGUMENT, "no such order")

    @fastrpc.subscriber("orders.new", broadcast=True)
    def hear(self, order: Order) -> None: ...


app = fastrpc.App([Billing], interceptors=[AccessLog()])
"""


@contextlib.contextmanager
def started(folder: Path) -> Iterator[tuple[Program, Program, str]]:
    """Start a broker and a program with subscribers; yield both, and the address of the broker."""
    (folder / "tokens.toml").write_text(TOKENS)
    (folder / "policy.toml").write_text(POLICY)
    (folder / "token").write_text("planted-token\n")
    (folder / "billing.py").write_text(APP)
    admin = ["--admin-address", "tcp://127.0.0.1:0"]
    options = ["--tokens", "tokens.toml", "--policy", "policy.toml", "--data-dir", "broker"]
    with command_line(
        ["broker", "-a", "tcp://127.0.0.1:0", *options, *admin, "--log-level", "debug"], folder
    ) as broker:
        url = broker.wait_output(r"broker at (\S+)")[1]
        environment = {
            "FASTRPC_BROKER": f"{url}?token=planted-token",
            "FASTRPC_ADMIN_ADDRESS": "tcp://127.0.0.1:0",
        }
        arguments = ["run", "billing:app", "-a", "tcp://127.0.0.1:0", "--log-level", "debug"]
        with command_line(arguments, folder, environment) as billing:
            billing.wait_output("serving at")
            yield broker, billing, url


async def use_all(url: str, *, token: str) -> None:
    """Publish, subscribe and look after dead letters, successfully and not."""
    planted = {"card": "planted-value"}
    headers = {"x-card": "planted-header", "cookie": "planted-header"}
    with contextlib.suppress(BrokerError):
        async with open_broker(url, credentials=token) as broker:
            for key in ("fine", "retried", "dead"):
                await broker.publish("orders.new", planted, key=key, headers=headers)
            # It has another type, and is not JSON.
            await broker.publish("orders.new", {"other": "planted-value"}, headers=headers)
            await broker.publish("orders.new", b"planted-value", headers=headers)
            for wrong in ({"authorization": "planted-header"}, {"frpc-x": "planted-header"}):
                with contextlib.suppress(BrokerError, ConfigError):
                    await broker.publish("orders.new", planted, headers=wrong)
            with contextlib.suppress(EncodeError):
                await broker.publish("orders.new", {"planted-value": object()})
            with contextlib.suppress(BrokerError, ConfigError):
                await broker.publish("secrets.new", planted)
            with contextlib.suppress(BrokerError, ConfigError):
                await broker.publish("orders.new", "planted-value" * 100_000)
            async with broker.subscribe("orders.new", group="audit", start="oldest") as messages:
                await (await anext(messages)).reject("planted-value")
            assert [one.reason for one in await broker.dead_letters("audit")] == ["planted-value"]
            await broker.discard("audit")


async def test_no_log_no_metric_and_no_page_tells_a_secret_of_messages(tmp_path: Path) -> None:
    with started(tmp_path) as (broker, billing, url):
        await use_all(url, token="planted-token")
        await use_all(url, token="planted-wrong")
        ports = [
            int(one.wait_errors(r"admin pages at tcp://127\.0\.0\.1:(\d+)")[1]) for one in (broker, billing)
        ]

        def dead_letters() -> float:
            return samples_of(fetch(ports[0], "/metrics").text).get(
                (
                    "fastrpc_messages_dead",
                    frozenset({"topic": "orders.new", "group": "billing.bill"}.items()),
                ),
                0,
            )

        # The retried one, the dead one, and both that do not decode.
        await eventually(lambda: dead_letters() == 4)
        pages = []
        for port in ports:
            for path in PAGES:
                for accepted in ("application/json", "text/html"):
                    answer = await asyncio.to_thread(fetch, port, path, Accept=accepted)
                    pages.append(f"{answer.headers}{answer.text}")
        for program in (billing, broker):
            program.signal(signal.SIGTERM)
        ended = [await asyncio.to_thread(program.wait) for program in (billing, broker)]
    told = "\n".join([*pages, *(text for one in ended for text in (one.output, one.errors))])
    # All of it happened.
    for text in ("no database", "billing.bill", "orders.new", 'outcome="dead"', 'outcome="retried"'):
        assert text in told
    assert [line for line in told.splitlines() if "planted" in line] == []
