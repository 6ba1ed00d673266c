"""The options that `fastrpc registry`, `store` and `broker` share, in programs."""

from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.ports import free_ports
from tests.support.program import Program, run_program

pytestmark = pytest.mark.one_loop


@pytest.mark.parametrize("name", ["registry", "store", "broker"])
def test_a_hosted_service_has_the_admin_pages(name: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    admin = f"tcp://127.0.0.1:{port}"
    command = ["-m", "fastrpc", name, "-a", "tcp://127.0.0.1:0", "--admin-address", admin]
    with Program(command, tmp_path) as program:
        program.wait_output(rf"{name} at ")
        with urlopen(f"http://127.0.0.1:{port}/livez") as page:
            assert page.status == 200


@pytest.mark.parametrize("name", ["registry", "store", "broker"])
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--admin-address", "xyz"], "'xyz' is not an address"),
        (["--admin-token", "token"], "admin_address is None"),
        (["--tls-cert", "cert.pem"], "--tls-cert encrypts nothing"),
        (["--policy", "policy.toml"], "--policy is given without --tokens"),
        (["--log-level", "loud"], "there is no log level 'loud'"),
    ],
)
def test_options_that_cannot_work_are_refused_by_each(
    options: list[str], reason: str, name: str, tmp_path: Path
) -> None:
    found = run_program(["-m", "fastrpc", name, "-a", "tcp://127.0.0.1:0", *options], tmp_path)
    assert found.code == 2
    assert reason in found.errors


@pytest.mark.parametrize("name", ["store", "broker"])
def test_sync_needs_a_folder(name: str, tmp_path: Path) -> None:
    found = run_program(["-m", "fastrpc", name, "--sync", "full"], tmp_path)
    assert found.code == 2
    assert "--sync has no effect without --data-dir" in found.errors
