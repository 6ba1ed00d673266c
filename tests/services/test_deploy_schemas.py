"""The files of `deploy/` fit the schemas and checkers of the programs that read them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployed import DEPLOY

yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.one_loop

MANIFESTS = [
    (path.name, manifest)
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text())
]

#: The kinds that Kubernetes itself knows; the other ones belong to operators.
OWN = ("apps/v1", "v1", "policy/v1", "rbac.authorization.k8s.io/v1")


@pytest.mark.parametrize(
    ("file", "manifest"),
    [(file, one) for file, one in MANIFESTS if one["apiVersion"] in OWN],
    ids=lambda value: value["kind"] if isinstance(value, dict) else str(value),
)
def test_each_manifest_fits_the_strict_schema_of_kubernetes(file: str, manifest: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    validate.validate(manifest, validate.latest_version(), strict=True)


def test_compose_fits_its_schema() -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, str(DEPLOY / "docker" / "compose.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["docker/prometheus.yml", "prometheus/prometheus.yml"])
def test_promtool_takes_each_configuration(name: str, tmp_path: Path) -> None:
    found = os.environ.get("FASTRPC_PROMETHEUS") or shutil.which("prometheus")
    if found is None:
        pytest.skip("Prometheus is not installed; `make services` fetches it")
    config = yaml.safe_load((DEPLOY / name).read_text())
    shutil.copy(DEPLOY / "prometheus" / "fastrpc-alerts.yml", tmp_path)
    # Promtool reads the file of the token as well.
    token = tmp_path / "token"
    token.write_text("a-token")
    for job in config["scrape_configs"]:
        job["authorization"]["credentials_file"] = str(token)
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    done = subprocess.run(
        [str(Path(found).with_name("promtool")), "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
