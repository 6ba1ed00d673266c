"""`fastrpc lan key`: the key file of announcements on the local network."""

import json
from pathlib import Path

from fastrpc.registries.lan.keys import read_keys
from tests.support.program import Finished, run_program


def command(*arguments: str, folder: Path) -> Finished:
    return run_program(["-m", "fastrpc", "lan", "key", *arguments], folder)


def test_keys_are_made_added_and_moved(tmp_path: Path) -> None:
    path = tmp_path / "lan.keys"
    first = command("lan.keys", folder=tmp_path)
    assert first.code == 0
    assert "is added" in first.errors
    second = json.loads(command("lan.keys", "--json", folder=tmp_path).output)["id"]
    assert [*read_keys(path.read_text())][1] == second.encode()
    signing = command("lan.keys", "--sign", folder=tmp_path)
    assert f"{second} signs" in signing.errors
    assert next(iter(read_keys(path.read_text()))) == second.encode()
    assert path.stat().st_mode & 0o777 == 0o600
    for key in path.read_text().split()[1::2]:
        assert key not in first.output + first.errors + signing.output + signing.errors


def test_a_key_is_added_below_comments(tmp_path: Path) -> None:
    path = tmp_path / "lan.keys"
    path.write_text("# keys of the shop\n\n")
    without = command("lan.keys", "--sign", folder=tmp_path)
    assert without.code == 2
    assert "there is no key" in without.errors
    added = command("lan.keys", "--json", folder=tmp_path)
    assert added.code == 0
    assert [*read_keys(path.read_text())] == [json.loads(added.output)["id"].encode()]
    assert path.read_text().startswith("# keys of the shop\n\n")


def test_mistakes_are_told_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lan.keys"
    missing = command("lan.keys", "--sign", folder=tmp_path)
    assert missing.code == 2
    assert "cannot be read" in missing.errors
    path.write_text("not a key\n")
    broken = command("lan.keys", folder=tmp_path)
    assert broken.code == 2
    assert "line 1 is not an id" in broken.errors
    assert path.read_text() == "not a key\n"
    elsewhere = command("nowhere/lan.keys", folder=tmp_path)
    assert elsewhere.code == 1
    assert "Traceback" not in elsewhere.errors
