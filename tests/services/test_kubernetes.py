"""Lookups at a real apiserver of Kubernetes; `test_recorded_apiserver.py` replays its answers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fastrpc.registries import open_registry
from tests.support.apiserver import NAMESPACE, pod, slice_of
from tests.support.apiserver_scenes import SCENES, ExchangeRecorder, Stage, record
from tests.support.deployed import DEPLOY
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


def test_a_pod_with_the_manifests_of_deploy_follows_services_and_their_dotted_names(
    cluster: KubeApiserver, tmp_path: Path
) -> None:
    """By TLS, with a token in a file and the role of `deploy/kubernetes/reader.yaml`."""
    cluster.clear()
    cluster.apply(yaml.safe_load_all((DEPLOY / "kubernetes" / "reader.yaml").read_text(encoding="utf-8")))
    (tmp_path / "token").write_text(cluster.token("fastrpc-reader", "reader"), encoding="utf-8")
    named = {"ports": [{"name": "fastrpc", "port": 8972, "protocol": "TCP"}]}
    cluster.put(
        slice_of("a", "web", pod("10.0.0.1"), labels={"fastrpc/shop.v1.arith": ""}),
        slice_of("b", "other", pod("10.0.0.2"), **named),
        slice_of("c", "postgres", pod("10.0.0.3")),
    )
    place = f"server=https://127.0.0.1:{cluster.port}&ca_file={cluster.ca_file}"
    with (
        open_registry(f"kubernetes://{NAMESPACE}?{place}&token_file={tmp_path}/token") as registry,
        registry.watch("shop.v1.arith") as arith,
        registry.watch("other") as other,
    ):
        assert [str(one.address) for one in arith.wait(10).endpoints] == ["tcp://10.0.0.1:8972"]
        assert [str(one.address) for one in other.wait(10).endpoints] == ["tcp://10.0.0.2:8972"]
        assert registry.services() == ["other", "shop.v1.arith"]
        cluster.put(slice_of("b", "other", pod("10.0.0.2"), pod("10.0.0.4"), **named))
        assert [one.address.host for one in other.wait(10).endpoints] == ["10.0.0.2", "10.0.0.4"]
        assert [str(one.address) for one in arith.latest.endpoints] == ["tcp://10.0.0.1:8972"]
