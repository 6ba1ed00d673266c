"""`fastrpc kv` and the copies of `fastrpc store`, on a store in a folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.program import Finished, run_program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "settings.py").write_text("class Limits(dict): ...\nRate = dict[str, int]\n")
    return tmp_path


def command(folder: Path, *arguments: str) -> Finished:
    url = f"sqlite://{folder}/store"
    return run_program(["-m", "fastrpc", *(url if one == "STORE" else one for one in arguments)], folder)


def test_keys_are_written_read_listed_and_deleted(folder: Path) -> None:
    put = command(folder, "kv", "put", "STORE", "shop/limits", '{"rate": 10}', "--type", "settings:Rate")
    assert (put.code, put.output) == (0, "1\n")
    assert command(folder, "kv", "get", "STORE", "shop/limits").output == '{"rate": 10}'
    shown = json.loads(command(folder, "kv", "get", "STORE", "shop/limits", "--json").output)
    assert shown == {
        "key": "shop/limits",
        "value": {"rate": 10},
        "revision": 1,
        "created": 1,
        "lease": None,
    }
    assert command(folder, "kv", "list", "STORE", "shop/").output == "shop/limits  1\n"
    conflict = command(folder, "kv", "put", "STORE", "shop/limits", "x", "--expect", "7")
    assert (conflict.code, conflict.output) == (1, "")
    assert "has revision 1, not 7" in conflict.errors
    assert command(folder, "kv", "delete", "STORE", "shop/limits").code == 0
    for gone in ("get", "delete"):
        ended = command(folder, "kv", gone, "STORE", "shop/limits")
        assert (ended.code, ended.output) == (1, "")
        assert "shop/limits does not exist" in ended.errors


def test_json_that_is_nested_too_deeply_is_shown_as_text(folder: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert command(folder, "kv", "put", "STORE", "k", deep).code == 0
    for shown in ("get", "list"):
        place = ("k",) if shown == "get" else ()
        found = command(folder, "kv", shown, "STORE", *place, "--json")
        assert (found.code, json.loads(found.output)["value"]) == (0, deep)


def test_wrong_uses_are_reported(folder: Path) -> None:
    wrong = command(folder, "kv", "put", "STORE", "k", '{"rate": "ten"}', "--type", "settings:Rate")
    assert "the value of 'k' is not of type dict[str, int]" in wrong.errors
    assert wrong.code != 0
    assert not (folder / "store").exists()
    assert command(folder, "kv", "get", "k", "STORE").code == 2
    assert command(folder, "kv", "get", "nosuch://a", "k").code == 2
    assert command(folder, "store", "backup", "etcd://127.0.0.1:2379", "copy").code == 2


@pytest.mark.parametrize("kind", ["json:loads", "json:decoder", "json:__version__", "socket:socket"])
def test_value_is_not_written_with_an_invalid_type(folder: Path, kind: str) -> None:
    wrong = command(folder, "kv", "put", "STORE", "k", "1", "--type", kind)
    assert (wrong.code, "defect" in wrong.errors) == (2, False)
    assert "error: the value of 'k' cannot be decoded as" in wrong.errors
    assert not (folder / "store").exists()


def test_full_disk_of_the_output_is_reported(folder: Path) -> None:
    assert command(folder, "kv", "put", "STORE", "k", "v").code == 0
    words = [sys.executable, "-m", "fastrpc", "kv", "get", f"sqlite://{folder}/store", "k"]
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(words, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: No space left on device\nhint: the disk is full; make room")
    assert "defect" not in ended.stderr


@pytest.mark.parametrize("sync", ["full", "normal", "nosuch"])
def test_sync_of_a_store_in_memory_is_refused(folder: Path, sync: str) -> None:
    refused = command(folder, "store", "--sync", sync, "--address", "tcp://127.0.0.1:0")
    assert (refused.code, refused.output) == (2, "")
    assert "--sync has no effect without --data-dir" in refused.errors
    assert "hint: give --data-dir FOLDER, or leave --sync out" in refused.errors


def test_copy_is_made_checked_and_restored(folder: Path) -> None:
    command(folder, "kv", "put", "STORE", "k", "v")
    assert command(folder, "store", "backup", "store", "copy").output == "copy: 1 items\n"
    assert command(folder, "store", "restore", "copy", "new").output == "new: 1 items\n"
    checked = command(folder, "store", "check", "new")
    told, _, revision = checked.output.rpartition(" ")
    assert (checked.code, told) == (0, "new: 1 items, 0 leases, revision")
    assert int(revision) > 2**40
    again = command(folder, "store", "restore", "copy", "new")
    assert (again.code, again.output) == (1, "")
    assert "new has files already" in again.errors


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("store", ("kv", "get", "STORE", "k")),
        ("store", ("kv", "list", "STORE")),
        ("store", ("kv", "delete", "STORE", "k")),
        ("store", ("leader", "STORE", "k")),
        ("broker", ("topics", "STORE")),
        ("broker", ("dead", "STORE", "list", "billing.bill")),
        ("broker", ("subscribe", "STORE", "orders.new")),
    ],
)
def test_command_that_reads_makes_nothing_in_a_folder_without_a_store_or_broker(
    folder: Path, kind: str, words: tuple[str, ...]
) -> None:
    refused = command(folder, *words)
    assert (refused.code, refused.output) == (2, "")
    assert f"{folder}/store has no {kind}" in refused.errors
    assert not (folder / "store").exists()
