"""Observers of calls show the caller's name, and no secret of the caller."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc import CallError
from fastrpc.cli.json_lines import JSONLines
from fastrpc.interceptors import AccessLog, OpenTelemetry
from tests.support.access_records import kept_records
from tests.support.either_client import CLIENTS
from tests.support.guarded import TOKENS, Shop, calling, guarded
from tests.support.planted import told
from tests.support.waiting import eventually

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

pytestmark = pytest.mark.one_loop

records = pytest.fixture(kept_records)

SECRET = "planted-5ecret"


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The records of all loggers of the package, at every level, as JSON."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(self.format(record))

    found: list[str] = []
    handler = Lines(logging.DEBUG)
    handler.setFormatter(JSONLines())
    logger = logging.getLogger("fastrpc")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.setLevel(before)
    logger.removeHandler(handler)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_records_and_spans_name_the_caller_and_hold_no_secret(
    kind: str, records: list[logging.LogRecord], lines: list[str]
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    both = [AccessLog(), OpenTelemetry(tracer_provider=provider)]
    async with (
        guarded(Shop, interceptors=both) as target,
        calling(kind, target, credentials="token-of-ada", interceptors=both) as client,
    ):
        view = client.with_options(metadata={"cookie": SECRET, "key-bin": SECRET.encode()})
        assert await view.call(Shop.who) == "ada"
        assert await view.call(Shop.echo, SECRET.encode()) == len(SECRET)
        own = client.with_options(metadata={"authorization": "Bearer token-of-bob"})
        assert await own.call(Shop.who) == "bob"
        wrong = client.with_options(metadata={"authorization": f"Bearer {SECRET}"})
        with pytest.raises(CallError):
            await wrong.call(Shop.who)
        # The server does not run a refused call: its only record is the client's.
        await eventually(lambda: len(records) >= 7)
    found: list[Any] = list(records)
    assert [one.identity for one in found if one.side == "server"] == ["ada", "ada", "bob"]
    assert [one.status for one in found if one.side == "client"] == ["OK"] * 3 + ["UNAUTHENTICATED"]
    spans = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "shop/who" in spans
    assert any("fastrpc.access" in line for line in lines)
    assert told([("logs", "\n".join(lines)), ("spans", spans)]) == []
    assert told([("tokens", repr(TOKENS))]) == []
