"""`deploy/docker`: the statements of image and compose about fastrpc hold for services that run that way."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ci.wheels.dockerfile import Dockerfile
from fastrpc import Client
from fastrpc.cli.settings import read_settings
from tests.support.deployed import DEPLOY, deployed
from tests.support.ports import ports_instead
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually

yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.one_loop

DOCKER = DEPLOY / "docker"
IMAGE = Dockerfile(DOCKER / "Dockerfile")
PORTS = (8972, 9099)


def command_of(image: Dockerfile) -> list[str]:
    found: list[str] = json.loads(image.one("CMD"))
    return found


def probe_of(image: Dockerfile) -> list[str]:
    found: list[str] = json.loads(image.one("HEALTHCHECK").partition("CMD ")[2])
    return found


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return found


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)(s|m)", text)
    assert found is not None, text
    return int(found[1]) * {"s": 1, "m": 60}[found[2]]


async def test_the_image_serves_is_probed_and_drains(tmp_path: Path) -> None:
    moved = ports_instead(PORTS)
    with deployed(command_of(IMAGE), IMAGE.environment, tmp_path, moved) as service:
        await eventually(lambda: service.run(probe_of(IMAGE)).returncode == 0)
        async with Client(f"tcp://127.0.0.1:{moved['8972']}") as client:
            assert await client.call("arith.mul", 6, 7) == 42
        ended = service.stop()
        assert ended.code == 0
        # As the environment says, each record is an object on a line.
        assert all(json.loads(line) for line in ended.errors.splitlines())
        assert service.run(probe_of(IMAGE)).returncode != 0


def test_the_image_does_not_run_as_root_and_exposes_its_listening_ports() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", IMAGE.one("USER"))
    exposed = {int(port) for port in IMAGE.one("EXPOSE").split()}
    environment = IMAGE.environment
    listened = {
        int(environment[name].rpartition(":")[2]) for name in ("FASTRPC_ADDRESS", "FASTRPC_ADMIN_ADDRESS")
    }
    assert exposed == listened == set(PORTS)
    assert IMAGE.one("STOPSIGNAL") == "SIGTERM"


def test_every_variable_of_the_image_is_a_setting() -> None:
    _, warnings = read_settings({}, IMAGE.environment, None)
    assert warnings == []


def test_the_build_gets_every_file_that_it_copies() -> None:
    kept = [
        line.removeprefix("!")
        for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = [rest.split()[0] for rest in IMAGE.all("COPY")]
    assert all((ROOT / path).exists() for path in copied)
    assert {*copied, "dist/*.whl"} == set(kept)


def test_the_image_has_one_stage_and_compiles_nothing() -> None:
    assert len(IMAGE.all("FROM")) == 1
    (install,) = (run for run in IMAGE.all("RUN") if "pip install" in run)
    assert "--only-binary=fastrpc" in install
    assert "--find-links=/context/dist" in install
    assert not [run for run in IMAGE.all("RUN") if "gcc" in run or "apt-get" in run]


def test_compose_waits_longer_for_a_server_than_its_drain_takes() -> None:
    for name, service in compose()["services"].items():
        if not name.startswith("server"):
            continue
        settings, warnings = read_settings({}, IMAGE.environment | service["environment"], None)
        assert warnings == []
        timeouts = settings.config.timeouts
        assert timeouts.drain is not None
        assert seconds(service["stop_grace_period"]) >= timeouts.announce + timeouts.drain + 5
        assert settings.config.admin_token == "file:/run/secrets/admin-token"
        assert f"tcp://{name}:8972" == settings.advertise[0]


def test_compose_mounts_only_files_that_there_are() -> None:
    found = compose()
    ignored = (ROOT / ".gitignore").read_text().split()
    for service in found["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert source in found["volumes"] or (DOCKER / source).is_file(), mount
        for secret in service.get("secrets", []):
            file = found["secrets"][secret]["file"].removeprefix("./")
            assert f"/deploy/docker/{file}" in ignored


def test_prometheus_of_compose_scrapes_the_servers_of_compose() -> None:
    servers = {name for name in compose()["services"] if name.startswith("server")}
    scrape = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    (job,) = scrape["scrape_configs"]
    (targets,) = job["static_configs"]
    assert set(targets["targets"]) == {f"{name}:{PORTS[1]}" for name in servers}
    mounts = {mount.split(":")[1] for mount in compose()["services"]["prometheus"]["volumes"]}
    assert {f"/etc/prometheus/{name}" for name in scrape["rule_files"]} <= mounts
    assert job["authorization"]["credentials_file"] == "/run/secrets/admin-token"


def test_grafana_of_compose_finds_the_dashboard_and_prometheus() -> None:
    grafana = compose()["services"]["grafana"]
    places = dict(mount.split(":")[:2] for mount in grafana["volumes"])
    (provider,) = yaml.safe_load((DOCKER / "grafana" / "dashboards.yml").read_text())["providers"]
    assert places["../grafana/fastrpc.json"].startswith(provider["options"]["path"] + "/")
    assert places["./grafana/dashboards.yml"].startswith("/etc/grafana/provisioning/dashboards/")
    assert places["./grafana/datasource.yml"].startswith("/etc/grafana/provisioning/datasources/")
    (source,) = yaml.safe_load((DOCKER / "grafana" / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    dashboard = json.loads((DEPLOY / "grafana" / "fastrpc.json").read_text())
    (variable,) = [one for one in dashboard["templating"]["list"] if one["name"] == "datasource"]
    assert variable["query"] == source["type"]
    # The file has no inputs: those are asked for only where somebody imports it by hand.
    assert "__inputs" not in dashboard


async def test_the_services_of_compose_work_together(tmp_path: Path) -> None:
    services = compose()["services"]
    token = tmp_path / "admin-token"
    token.write_text("a-token-of-the-pages\n")
    moved = {
        **ports_instead([8970, *PORTS]),
        "registry://registry:": "registry://127.0.0.1:",
        "tcp://server-1:": "tcp://127.0.0.1:",
        "/run/secrets/admin-token": str(token),
        "/data": str(tmp_path / "data"),
    }
    registry, server = services["registry"], services["server-1"]
    environment = IMAGE.environment | server["environment"]
    with (
        deployed(registry["command"], {}, tmp_path, moved) as directory,
        deployed(command_of(IMAGE), environment, tmp_path, moved) as service,
    ):
        kind, *check = registry["healthcheck"]["test"]
        assert kind == "CMD"
        await eventually(lambda: directory.run(check).returncode == 0)
        await eventually(lambda: service.run(probe_of(IMAGE)).returncode == 0)
        text = (DOCKER / "compose.yaml").read_text()
        (line,) = re.findall(r"docker compose exec server-1 (.*)", text)
        done = service.run(shlex.split(line))
        assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
        assert service.probe(9099, "/metrics").status == 401
        answer = service.probe(9099, "/metrics", Authorization="Bearer a-token-of-the-pages")
        assert answer.status == 200
        assert 'fastrpc_registry_up{registry="registry://127.0.0.1:' in answer.text
        assert service.stop().code == 0
        # It withdrew.
        done = service.run(shlex.split(line))
        assert done.returncode != 0
