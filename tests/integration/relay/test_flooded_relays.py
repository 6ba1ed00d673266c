"""Floods of openings at a relay that has a core for itself: callers of its servers keep their rate."""

import contextlib
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fastrpc import SyncClient
from tests.support.connection_flood import FLOOD_RATE, Flood, FloodProgram
from tests.support.honest_client import Cores, HonestClient, chosen_cores, stay_on
from tests.support.relay_process import RelayedProcess, RelayProcess
from tests.support.relayed import RelayFiles

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

#: Windows without and with the flood, by turns.
WINDOWS = 5

#: Before a window with the flood begins: it then has its rate.
BEGIN_SECONDS = 0.5

#: The addresses of a flood, and its openings in a second: as fast as this machine makes them, or 2,000 that stay silent
#: in addition to 256 which the relay keeps open.
FLOODS = {"one address": (1, FLOOD_RATE), "silent": (20, 2_000.0)}

FLOODER = "127.0.0.2"

#: A call passes two processes each way, and a connection takes a handshake of TLS inside a data connection.
Honest = partial(HonestClient, method="place.here", calls=400, connections=25, seconds=0.8)


@pytest.fixture
def cores() -> Iterator[Cores]:
    with chosen_cores() as chosen:
        yield chosen


@contextlib.contextmanager
def relayed(files: RelayFiles, folder: Path, cores: Cores) -> Iterator[RelayProcess]:
    """Run a relay on its core, and a server behind it."""
    relay = RelayProcess(files, folder)
    server = RelayedProcess("tests.support.relay_process:Place", relay.target(), files, folder)
    with relay.running(), server.running():
        stay_on(cores.server, [relay.process_id])
        yield relay


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_openings_leaves_callers_four_fifths_of_their_rate(
    kind: str, cores: Cores, files: RelayFiles, tmp_path: Path
) -> None:
    sources, rate = FLOODS[kind]
    generator = FloodProgram(tmp_path, cores.flood)
    with relayed(files, tmp_path, cores) as relay, SyncClient(relay.target(), config=files.client) as client:
        without, beside = (Honest(relay.target(), client, config=files.client) for _ in range(2))
        without.call()
        floods: list[Flood] = []
        for _ in range(WINDOWS):
            without.measure()
            with generator.flooding(relay.port, FLOODER, sources, rate=rate) as flood:
                time.sleep(BEGIN_SECONDS)
                beside.measure()
            floods.append(flood)
    told = f"{kind}: {floods[-1]}; the honest caller without it: {without}; beside it: {beside}"
    print(told)
    assert min(flood.made for flood in floods) >= 0.9 * 2_000, told
    assert statistics.median(beside.calls) >= 0.8 * statistics.median(without.calls), told
    assert statistics.median(beside.connections) >= 0.8 * statistics.median(without.connections), told
