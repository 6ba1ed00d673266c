"""The credentials that servers and registries are shown."""

from pathlib import Path

from fastrpc import ClientConfig
from fastrpc.gateway.dialing import Dialing


def test_each_registry_gets_the_token_of_the_command(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of-the-gateway")
    dial = Dialing(ClientConfig(), token_path=file)
    with dial.registry("registry://127.0.0.1:1", "registry://127.0.0.1:2") as opened:  # type: ignore[attr-defined]
        members = [member._backend._credentials for member in opened._members]
    assert None not in members
    assert len(members) == 2
