"""`deploy/kubernetes`: the statements of the manifests about fastrpc hold for a service that runs that way."""

import signal
from pathlib import Path
from typing import Any

import pytest

from ci.wheels.dockerfile import Dockerfile
from fastrpc import Client
from fastrpc.cli.settings import read_settings
from fastrpc.client.target import target_of
from tests.support.apiserver import NAMESPACE, Apiserver, pod, slice_of
from tests.support.deployed import DEPLOY, Deployed, deployed
from tests.support.ports import ports_instead
from tests.support.waiting import eventually

yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.one_loop

KUBERNETES = DEPLOY / "kubernetes"

#: Seconds for the steps after the drain: the close of connections, the end of the interpreter.
REST_SECONDS = 5


def manifests() -> dict[str, Any]:
    """Return every manifest by its kind."""
    return {
        one["kind"]: one
        for path in sorted(KUBERNETES.glob("*.yaml"))
        for one in yaml.safe_load_all(path.read_text())
    }


KINDS = manifests()
POD = KINDS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
ENVIRONMENT = {one["name"]: one["value"] for one in CONTAINER["env"]}
PORTS = {one["name"]: one["containerPort"] for one in CONTAINER["ports"]}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def settings() -> Any:
    found, warnings = read_settings({}, ENVIRONMENT, None)
    assert warnings == []
    return found


def probe(service: Deployed, name: str) -> bool:
    """Probe as the kubelet does: any status from 200 to 399 is a success."""
    wanted = CONTAINER[name]["httpGet"]
    try:
        return 200 <= service.probe(PORTS[wanted["port"]], wanted["path"]).status < 400
    except OSError:
        return False


@pytest.fixture
def moved(tmp_path: Path) -> dict[str, str]:
    """Ports of this machine, and the place of the secret."""
    (volume,) = POD["volumes"]
    (mount,) = [one for one in CONTAINER["volumeMounts"] if one["name"] == volume["name"]]
    (tmp_path / "token").write_text("a-token-of-the-pages")
    return {**ports_instead(list(PORTS.values())), mount["mountPath"]: str(tmp_path)}


async def test_the_probes_follow_the_life_of_a_pod(tmp_path: Path, moved: dict[str, str]) -> None:
    with deployed(CONTAINER["args"], ENVIRONMENT, tmp_path, moved) as service:
        for name in PROBES:
            await eventually(lambda name=name: probe(service, name))
        async with Client(f"tcp://127.0.0.1:{moved[str(PORTS['fastrpc'])]}") as client:
            assert await client.call("arith.mul", 6, 7) == 42
            service.program.signal(signal.SIGTERM)
            await eventually(lambda: not probe(service, "readinessProbe"))
            # While it announces: no new calls are sent here, those that come are served, and nothing restarts it.
            assert probe(service, "livenessProbe")
            assert await client.call("arith.mul", 6, 7) == 42
        ended = service.program.wait()
    assert ended.code == 0


async def test_prometheus_scrapes_a_pod_with_the_token_of_the_secret(
    tmp_path: Path, moved: dict[str, str]
) -> None:
    (endpoint,) = KINDS["ServiceMonitor"]["spec"]["endpoints"]
    (port,) = [one for one in KINDS["Service"]["spec"]["ports"] if one["name"] == endpoint["port"]]
    with deployed(CONTAINER["args"], ENVIRONMENT, tmp_path, moved) as service:
        await eventually(lambda: probe(service, "readinessProbe"))
        number = PORTS[port["targetPort"]]
        assert service.probe(number, endpoint["path"]).status == 401
        scheme = endpoint["authorization"]["type"]
        answer = service.probe(number, endpoint["path"], Authorization=f"{scheme} a-token-of-the-pages")
        assert answer.status == 200
        assert "fastrpc_server_connections" in answer.text


def test_a_pod_has_the_time_that_it_needs_to_end() -> None:
    timeouts = settings().config.timeouts
    before = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before > 0
    needed = before + timeouts.announce + timeouts.drain
    assert POD["terminationGracePeriodSeconds"] >= needed + REST_SECONDS


def test_the_manifests_are_about_the_same_pods() -> None:
    labels = KINDS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        KINDS["Deployment"]["spec"]["selector"]["matchLabels"],
        KINDS["Service"]["spec"]["selector"],
        KINDS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    monitor = KINDS["ServiceMonitor"]["spec"]
    service = KINDS["Service"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= service.items()
    assert monitor["jobLabel"] in service
    assert KINDS["Deployment"]["spec"]["replicas"] > KINDS["PodDisruptionBudget"]["spec"]["maxUnavailable"]


def test_the_service_gives_each_pod_to_clients() -> None:
    service = KINDS["Service"]
    assert service["spec"]["clusterIP"] == "None"
    assert {one["targetPort"] for one in service["spec"]["ports"]} == PORTS.keys()
    (rpc,) = [one for one in service["spec"]["ports"] if one["name"] == "fastrpc"]
    # Headless: the port of the record is the pod's port.
    assert rpc["port"] == PORTS["fastrpc"]
    name, text = service["metadata"]["name"], (KUBERNETES / "arith.yaml").read_text()
    assert f"kubernetes:///{name} " in text
    target = f"dns://{name}.default.svc.cluster.local:{rpc['port']}"
    assert target in text
    assert target_of(target, None).service == target.removeprefix("dns://")


def test_clients_may_follow_the_slices_of_the_service() -> None:
    binding, account = KINDS["RoleBinding"], KINDS["ServiceAccount"]["metadata"]["name"]
    assert binding["roleRef"]["name"] == KINDS["Role"]["metadata"]["name"]
    assert [one["name"] for one in binding["subjects"]] == [account]
    [rule] = KINDS["Role"]["rules"]
    assert (rule["apiGroups"], rule["resources"]) == (["discovery.k8s.io"], ["endpointslices"])
    assert {"list", "watch"} <= set(rule["verbs"])


async def test_clients_find_the_port_of_the_manifest_in_slices(tmp_path: Path, moved: dict[str, str]) -> None:
    service = KINDS["Service"]
    ports = [
        {"name": one["name"], "port": int(moved[str(one["port"])]), "protocol": "TCP"}
        for one in service["spec"]["ports"]
    ]
    name = service["metadata"]["name"]
    with Apiserver() as apiserver, deployed(CONTAINER["args"], ENVIRONMENT, tmp_path, moved) as running:
        await eventually(lambda: probe(running, "readinessProbe"))
        apiserver.put(slice_of("a", name, pod("127.0.0.1"), ports=ports))
        target = f"kubernetes://{NAMESPACE}/{name}?server={apiserver.url}"
        async with Client(target) as client:
            assert await client.call("arith.mul", 6, 7) == 42


def test_prometheus_shows_the_same_secret() -> None:
    (volume,) = POD["volumes"]
    (endpoint,) = KINDS["ServiceMonitor"]["spec"]["endpoints"]
    credentials = endpoint["authorization"]["credentials"]
    assert volume["secret"]["secretName"] == credentials["name"]
    (mount,) = CONTAINER["volumeMounts"]
    assert settings().config.admin_token == f"file:{mount['mountPath']}/{credentials['key']}"


def test_the_pod_runs_as_the_user_of_the_image_and_may_write_nowhere() -> None:
    image = Dockerfile(DEPLOY / "docker" / "Dockerfile")
    security = POD["securityContext"]
    assert image.one("USER") == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert security["runAsNonRoot"] is True
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert CONTAINER["securityContext"]["allowPrivilegeEscalation"] is False
    assert {int(port) for port in image.one("EXPOSE").split()} == set(PORTS.values())
