"""`deploy/` with a real Prometheus: every query of the dashboard and of the alerts finds data of real services."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import WAIT_SECONDS, Program

pytestmark = pytest.mark.one_loop

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "fastrpc-alerts.yml"

#: Several workers: calls that succeed, that fail, that wait for a thread.
SERVER = """
import logging
import time

import fastrpc


@fastrpc.service("shop")
class Shop:
    @fastrpc.method
    async def price(self) -> int:
        return 5

    @fastrpc.method
    async def broken(self) -> int:
        raise LookupError("no database")

    @fastrpc.method
    def threaded(self) -> int:
        return 5


logging.basicConfig(level=logging.INFO)
logging.getLogger("fastrpc.calls").disabled = True
if __name__ == "__main__":
    config = fastrpc.ServerConfig(admin_address="tcp://127.0.0.1:0")
    fastrpc.serve(Shop, address="tcp://127.0.0.1:0", workers=2, config=config)
"""

#: A caller: of the server above, through a registry, and of a port where nobody listens. It handles messages as well.
CALLER = """
import asyncio
import contextlib
import logging
import os
import sys

import fastrpc
from fastrpc import Client, ClientConfig, Pool, Server, ServerConfig
from fastrpc.config import Breaker
from fastrpc.coordination import RegistryServer, open_store


@fastrpc.service("desk")
class Desk:
    @fastrpc.method(idempotent=True)
    async def ask(self) -> int:
        return 1

    @fastrpc.subscriber("desk.questions")
    async def answer(self, question: int) -> None: ...


async def call_on(client, *methods):
    while True:
        for method in methods:
            with contextlib.suppress(fastrpc.FastRPCError):
                await client.with_options(timeout=1).call(method)
        await asyncio.sleep(0.02)


async def publish_on(broker):
    while True:
        await broker.publish("desk.questions", 1)
        await asyncio.sleep(0.02)


async def main(target, dead):
    async with RegistryServer("tcp://127.0.0.1:0") as registry, open_store("memory://settings") as store:
        await store.follow("desk/limit", int, default=1)
        config = ServerConfig(admin_address="tcp://127.0.0.1:0")
        messages = f"sqlite://{os.getcwd()}/messages"
        async with Server(Desk, config=config, registry=registry.url, broker=messages) as server:
            await server.listen("tcp://127.0.0.1:0")
            breaking = ClientConfig(pool=Pool(breaker=Breaker(consecutive=2)))
            async with (
                Client(target) as shop,
                Client(f"{registry.url}/desk") as desk,
                Client(dead, config=breaking) as away,
            ):
                await asyncio.gather(
                    call_on(shop, "shop.price", "shop.broken", "shop.threaded"),
                    call_on(desk, Desk.ask),
                    call_on(away, Desk.ask),
                    publish_on(server._gate.dispatcher.broker),
                )


logging.basicConfig(level=logging.INFO)
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def prometheus() -> str:
    """The Prometheus program; skip the test if it is missing."""
    found = os.environ.get("FASTRPC_PROMETHEUS") or shutil.which("prometheus")
    if found is None:
        pytest.skip("Prometheus is not installed; `make services` fetches it")
    return found


@pytest.fixture(scope="module")
def promtool(prometheus: str) -> str:
    return str(Path(prometheus).with_name("promtool"))


class Prometheus:
    """A server that scrapes these ports several times a second."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def until_found(self, query: str) -> list[Any]:
        """Return the result of a query, once it is not empty."""
        until = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                found: list[Any] = self.ask("query", query=query)["result"]
            except OSError:
                found = []  # It is only starting.
            # A quotient of nothing by nothing is no figure.
            if any(one["value"][1] != "NaN" for one in found):
                return found
            assert time.monotonic() < until, f"nothing is found by {query}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def scraping(prometheus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "shop.py").write_text(SERVER)
    (folder / "caller.py").write_text(CALLER)
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as taken:
        # Bound and closed: nobody listens there.
        port = taken.getsockname()[1]
        taken.close()
        shop = stack.enter_context(Program(["shop.py"], folder))
        target = shop.wait_errors(r"listening at (\S+) with")[1]
        caller = stack.enter_context(Program(["caller.py", target, "tcp://127.0.0.1:1"], folder))
        places = [program.wait_errors(r"admin pages at tcp://(\S+)")[1] for program in (shop, caller)]
        config = {
            "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [{"job_name": "shop", "static_configs": [{"targets": places}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        process = subprocess.Popen(
            [
                prometheus,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Prometheus(port)
        finally:
            process.terminate()
            process.wait()


def dashboard_queries() -> list[str]:
    board = json.loads((DEPLOY / "grafana" / "fastrpc.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def alert_expressions(scraping: Prometheus) -> dict[str, str]:
    groups = scraping.ask("rules")["groups"]
    return {rule["name"]: rule["query"] for group in groups for rule in group["rules"]}


@pytest.mark.parametrize("query", dashboard_queries())
def test_every_query_of_the_dashboard_finds_data(query: str, scraping: Prometheus) -> None:
    # The value that Grafana inserts.
    scraping.until_found(query.replace("$__rate_interval", "1m").replace("$job", ".*"))


def test_every_alert_without_its_limit_finds_data(scraping: Prometheus) -> None:
    scraping.until_found("fastrpc_loop_lag_seconds")
    found = alert_expressions(scraping)
    assert len(found) == ALERTS.read_text().count("- alert:") > 0
    for query in found.values():
        bare, count = re.subn(r"\s[<>]=?\s*[0-9.]+\s*$", "", query)
        assert count == 1
        scraping.until_found(bare)


def test_each_alert_fires(promtool: str) -> None:
    tests = DEPLOY / "prometheus" / "fastrpc-alerts-test.yml"
    done = subprocess.run(
        [promtool, "test", "rules", str(tests)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names = set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
    assert set(re.findall(r"alertname: (\w+)", tests.read_text())) == names


def test_promtool_accepts_a_scrape(promtool: str, scraping: Prometheus) -> None:
    scraping.until_found("fastrpc_loop_lag_seconds")
    target = scraping.ask("targets")["activeTargets"][0]
    with urllib.request.urlopen(target["scrapeUrl"], timeout=10) as page:
        text = page.read()
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    # Names that prometheus-client chose itself are not ours to mend.
    problems = [line for line in done.stderr.decode().splitlines() if line.startswith("fastrpc_")]
    assert problems == []
