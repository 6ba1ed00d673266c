"""Networks of machines where the system refuses a part of them."""

import shlex
from pathlib import Path

import pytest

from tests.support.local_network import Machine, local_network


def test_machines_share_loopback_where_no_bridge_can_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made, program = tmp_path / "made", tmp_path / "ip"
    made.mkdir()
    # As `ip` on such a system: it makes namespaces, here files, and refuses everything else.
    program.write_text(
        f"""#!/bin/sh
cd {shlex.quote(str(made))}
case "$1 $2" in
    "netns add") : >"$3" ;;
    "netns delete") /bin/rm "$3" ;;
    *) exit 2 ;;
esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with local_network(2) as machines:
        assert machines == [Machine("127.0.0.1"), Machine("127.0.0.2")]
        assert not list(made.iterdir())
