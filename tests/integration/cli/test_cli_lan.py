"""`fastrpc lan key` and `fastrpc lan pass`: the secrets of servers on the local network."""

import json
from pathlib import Path

from fastrpc.registries.lan.keys import read_keys
from fastrpc.tls.pass_file import passes_in
from tests.support.lan_passes import made_pass, put_passes
from tests.support.program import Finished, Program, run_program


def command(*arguments: str, folder: Path, kind: str = "key") -> Finished:
    return run_program(["-m", "fastrpc", "lan", kind, *arguments], folder)


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


def test_passes_are_made_added_and_moved(tmp_path: Path) -> None:
    path = tmp_path / "lan.pass"
    first = command("lan.pass", folder=tmp_path, kind="pass")
    assert first.code == 0
    assert "is added, it holds until" in first.errors
    [made] = passes_in(path.read_text())
    told = json.loads(command("lan.pass", "--json", folder=tmp_path, kind="pass").output)
    second = passes_in(path.read_text())[1]
    assert (told["file"], told["id"]) == ("lan.pass", second.id)
    moved = command("lan.pass", "--present", folder=tmp_path, kind="pass")
    assert f"{second.id} is presented" in moved.errors
    assert passes_in(path.read_text()) == [second, made]
    kept = command("lan.pass", "--only", folder=tmp_path, kind="pass")
    assert f"{second.id} is the only pass" in kept.errors
    assert passes_in(path.read_text()) == [second]
    assert path.stat().st_mode & 0o777 == 0o600
    secrets = [line for line in (made.text + second.text).splitlines() if "-----" not in line]
    shown = "".join(each.output + each.errors for each in (first, moved, kept))
    assert not [line for line in secrets if line in shown]


def test_mistakes_with_passes_are_told_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lan.pass"
    missing = command("lan.pass", "--present", folder=tmp_path, kind="pass")
    assert missing.code == 2
    assert "cannot be read" in missing.errors
    put_passes(path, made_pass(1))
    both = command("lan.pass", "--present", "--only", folder=tmp_path, kind="pass")
    assert both.code == 2
    assert "two steps" in both.errors
    path.chmod(0o644)
    before = path.read_bytes()
    readable = command("lan.pass", folder=tmp_path, kind="pass")
    assert readable.code == 2
    assert "its rights are 0644" in readable.errors
    link = tmp_path / "link.pass"
    link.symlink_to("nowhere.pass")
    assert "symbolic link" in command("link.pass", folder=tmp_path, kind="pass").errors
    assert path.read_bytes() == before
    elsewhere = command("nowhere/lan.pass", folder=tmp_path, kind="pass")
    assert elsewhere.code == 2
    assert "the LAN pass 'nowhere/lan.pass' cannot be written" in elsewhere.errors


def test_a_new_pass_is_made_and_an_expired_pass_is_kept(tmp_path: Path) -> None:
    path = put_passes(tmp_path / "lan.pass", made_pass(2, 1_000_000_000.0))
    assert command("lan.pass", folder=tmp_path, kind="pass").code == 0
    assert command("lan.pass", "--present", folder=tmp_path, kind="pass").code == 0
    new, old = passes_in(path.read_text())
    assert old == made_pass(2, 1_000_000_000.0)
    assert new.period.begin > old.period.end


def test_the_missing_program_openssl_is_reported(tmp_path: Path) -> None:
    made = run_program(["-m", "fastrpc", "lan", "pass", "lan.pass"], tmp_path, {"PATH": "/nowhere"})
    assert made.code == 2
    assert "openssl is not installed" in made.errors
    assert not (tmp_path / "lan.pass").exists()


def test_a_server_and_its_callers_take_the_pass_by_the_options_of_tls(tmp_path: Path) -> None:
    put_passes(tmp_path / "lan.pass", made_pass(1))
    options = ["--tls-cert", "lan.pass", "--tls-ca", "lan.pass", "--address", "tls://127.0.0.1:0"]
    with Program(["-m", "fastrpc", "run", "tests.support.arith:Arith", *options], tmp_path) as server:
        address = server.wait_output(r"serving at (tls://\S+)")[1]
        call = ["-m", "fastrpc", "call", address, "arith.mul", "6", "7"]
        presented = ["--cert", "lan.pass", "--ca", "lan.pass", "--server-name", "lan"]
        assert run_program([*call, *presented], tmp_path).output == "42\n"
        stranger = run_program([*call, *presented[2:]], tmp_path)
        assert stranger.code != 0
        assert "demands a certificate" in stranger.errors
