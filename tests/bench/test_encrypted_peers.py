"""The Python peers over TLS: the version and cipher that they negotiate."""

from pathlib import Path

import pytest

from bench.compare.measurement import LoadOrder
from bench.compare.peers.fastrpc import PEERS
from bench.compare.processes import choose_cores, run_client, running_server
from bench.compare.workloads import WORKLOADS

pytestmark = pytest.mark.usefixtures("certificates_are_kept")


@pytest.mark.parametrize("name", ["fastrpc_tls", "fastrpc_blocking_tls", "fastrpc"])
def test_a_measurement_names_the_cipher_that_openssl_was_told_to_use(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The peer sets this variable for a run, and the test restores it.
    monkeypatch.setenv("OPENSSL_CONF", "/dev/null")
    peer = next(peer for peer in PEERS if peer.name == name)
    peer.prepare()
    cores = choose_cores()
    with running_server(peer.server_command(tmp_path, WORKLOADS["W1"]), cores.server) as server:
        order = LoadOrder(
            address=server.address,
            workload="W1",
            warm_seconds=0.02,
            seconds=0.1,
            server_processes=server.processes,
        )
        result = run_client(peer.client_command(order), cores.client, 1)
    assert result["cipher"] == ("TLS_AES_128_GCM_SHA256" if name.endswith("_tls") else "")
