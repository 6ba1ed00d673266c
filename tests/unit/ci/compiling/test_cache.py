"""The folder of compiled modules that builds of one user share."""

import os
from pathlib import Path

import pytest

from ci.compiling import cache
from ci.compiling.cache import ModuleCache, cache_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "fastrpc"


def module(path: Path, content: bytes = b"compiled") -> Path:
    path.write_bytes(content)
    return path


def test_a_module_is_taken_under_its_key_only(folder: Path, tmp_path: Path) -> None:
    ModuleCache(folder).keep("a" * 64, module(tmp_path / "one.so"))
    target = tmp_path / "new" / "one.so"
    assert not ModuleCache(folder).take("b" * 64, target)
    assert ModuleCache(folder).take("a" * 64, target)
    assert target.read_bytes() == b"compiled"
    assert os.access(target, os.X_OK)


def test_the_folder_is_its_owners_alone(folder: Path, tmp_path: Path) -> None:
    kept = ModuleCache(folder)
    kept.keep("a" * 64, module(tmp_path / "one.so"))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == ["a" * 64]


def test_folders_made_above_it_are_its_owners_alone_too(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        kept = ModuleCache(tmp_path / "home" / ".cache" / "fastrpc")
    finally:
        os.umask(before)
    assert kept.refusal == ""
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("home", "home/.cache")] == [0o700] * 2


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_is_not_used(folder: Path, tmp_path: Path, mode: int) -> None:
    ModuleCache(folder).keep("a" * 64, module(tmp_path / "one.so"))
    folder.chmod(mode)
    shared = ModuleCache(folder)
    assert shared.refusal == f"{folder} can be written by others"
    assert not shared.take("a" * 64, tmp_path / "taken.so")
    shared.keep("b" * 64, tmp_path / "one.so")
    assert len(list(folder.iterdir())) == 1


def test_a_folder_of_another_user_is_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ModuleCache(folder).keep("a" * 64, module(tmp_path / "one.so"))
    own = os.geteuid()
    monkeypatch.setattr(cache.os, "geteuid", lambda: own + 1)
    foreign = ModuleCache(folder)
    assert foreign.refusal == f"{folder} belongs to another user"
    assert not foreign.take("a" * 64, tmp_path / "taken.so")


def test_a_folder_below_a_folder_that_others_can_write_is_not_used(folder: Path) -> None:
    folder.parent.mkdir()
    folder.parent.chmod(0o777)
    assert ModuleCache(folder).refusal == f"{folder.parent} can be written by others"
    folder.parent.chmod(0o1777)
    assert ModuleCache(folder).refusal == ""


def test_a_link_is_not_used(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    assert ModuleCache(folder).refusal == f"{folder} is not a folder"


def test_a_folder_that_cannot_be_made_stops_no_build(tmp_path: Path) -> None:
    module(tmp_path / "file")
    refused = ModuleCache(tmp_path / "file" / "fastrpc")
    assert refused.refusal != ""
    assert not refused.take("a" * 64, tmp_path / "one.so")


def test_a_damaged_module_is_removed_and_not_taken(folder: Path, tmp_path: Path) -> None:
    kept = ModuleCache(folder)
    kept.keep("a" * 64, module(tmp_path / "one.so"))
    with open(folder / ("a" * 64), "r+b") as file:
        file.truncate(file.seek(0, 2) - 1)
    assert not kept.take("a" * 64, tmp_path / "taken.so")
    assert list(folder.iterdir()) == []


def test_the_modules_used_longest_ago_go_first(folder: Path, tmp_path: Path) -> None:
    kept = ModuleCache(folder, limit_bytes=2 * (1000 + cache.DIGEST_BYTES))
    for age, key in enumerate("abc"):
        kept.keep(key * 64, module(tmp_path / "one.so", bytes(1000)))
        os.utime(folder / (key * 64), (1000 + age, 1000 + age))
    # Taking it makes it the youngest.
    assert kept.take("a" * 64, tmp_path / "taken.so")
    kept.prune()
    assert sorted(path.name[0] for path in folder.iterdir()) == ["a", "c"]


def test_the_folder_is_set_by_the_environment() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/kept", "HOME": "/kept/home"}) == Path("/kept/fastrpc")
    assert cache_folder({"HOME": "/kept/home"}) == Path("/kept/home/.cache/fastrpc")
    assert cache_folder({"XDG_CACHE_HOME": "relative", "HOME": "/kept/home"}) == Path(
        "/kept/home/.cache/fastrpc"
    )
    assert cache_folder({}) is None
    assert cache_folder({"HOME": "/kept/home", "FASTRPC_BUILD_CACHE": "off"}) is None


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(SystemExit, match="FASTRPC_BUILD_CACHE is on or off, not 'no'"):
        cache_folder({"FASTRPC_BUILD_CACHE": "no"})


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    none = ModuleCache(None)
    none.keep("a" * 64, module(tmp_path / "one.so"))
    none.prune()
    assert not none.take("a" * 64, tmp_path / "taken.so")
