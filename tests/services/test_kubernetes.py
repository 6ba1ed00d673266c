"""Lookups at a real apiserver of Kubernetes; its answers are what the stand-in of other tests replays."""

import os
from collections.abc import Iterator

import pytest

from tests.support.apiserver_scenes import SCENES, ExchangeRecorder, Stage, record
from tests.support.kube_apiserver import KubeApiserver
from tests.support.registry_servers import EtcdServer

pytestmark = [pytest.mark.conformance, pytest.mark.one_loop]


@pytest.fixture(scope="module")
def cluster(
    kube_apiserver_path: str, etcd_new_path: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubeApiserver]:
    folder = tmp_path_factory.mktemp("kubernetes")
    with (
        EtcdServer(etcd_new_path, folder).running() as etcd,
        KubeApiserver(kube_apiserver_path, folder, etcd).prepared() as found,
    ):
        yield found


@pytest.mark.parametrize("name", SCENES)
async def test_lookups_follow_a_real_apiserver(
    name: str, cluster: KubeApiserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.clear()
    recorder = ExchangeRecorder(cluster.port, cluster.context)
    await recorder.serve(lambda place: Stage(place, cluster, monkeypatch), SCENES[name])
    if os.environ.get("FASTRPC_RECORD"):
        record(name, recorder.exchanges)
