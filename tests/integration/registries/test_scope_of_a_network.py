"""The scope `lan` of `any://`: only with a LAN pass, and for one process."""

from pathlib import Path

import pytest

from fastrpc import TLS, ConfigError
from fastrpc.discovery.any_registry import AnyRegistry
from fastrpc.place import Place
from tests.support.lan_passes import made_pass, put_passes

pytestmark = pytest.mark.one_loop

OWN = TLS(cert_file="own.pem", key_file="own.key", ca_file="own-authority.pem")


@pytest.fixture
def lan_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = put_passes(tmp_path / "lan.pass", made_pass(1))
    monkeypatch.setenv("FASTRPC_LAN_PASS", str(path))
    return path


def test_the_scope_needs_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTRPC_LAN_PASS", raising=False)
    with pytest.raises(ConfigError, match="needs a LAN pass"):
        AnyRegistry(("lan",))


@pytest.mark.usefixtures("lan_pass")
def test_several_processes_are_refused_with_a_pass() -> None:
    with AnyRegistry() as registry, pytest.raises(ConfigError, match="several processes") as refused:
        registry.places(is_one_process=False)
    assert "any://?scopes=host" in (refused.value.hint or "")
    with AnyRegistry(("host",)) as registry:
        [place] = registry.places(is_one_process=False)
    assert place.address.scheme == "unix"


@pytest.mark.parametrize("own", [None, OWN])
def test_clients_present_the_pass_to_servers_that_hold_it(lan_pass: Path, own: TLS | None) -> None:
    with AnyRegistry(("lan",), tls=own) as of_server, AnyRegistry(("lan",)) as of_client:
        [listed] = of_server.places()
        endpoint = listed.advertised(Place(zone="a", weight=3))
        assert endpoint is not None
        assert (endpoint.zone, endpoint.weight, endpoint.labels["scope"]) == ("a", 3, "lan")
        shown, presented = listed.tls, of_client.tls_for(endpoint, OWN)
    if own is None:
        assert shown is not None
        assert presented is not None
        assert (shown.cert_file, shown.require_client_cert) == (str(lan_pass), True)
        assert (presented.cert_file, presented.server_name) == (str(lan_pass), "lan")
    else:
        # Its listener has the certificates of the server.
        assert shown is None
        assert presented is OWN
