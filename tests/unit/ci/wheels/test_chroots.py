"""Chroots are kept while they have the packages that are asked for."""

import os
from pathlib import Path

import pytest

from ci.wheels import chroots
from ci.wheels.chroots import PACKAGES, can_have_chroot, chroot_of, run_in

MACHINE = os.uname().machine
#: Stands for unshare and the commands that it runs: makes the folder of a chroot and no packages, without root or a
#: network.
UNSHARE = """#!/bin/sh
for last; do root=$folder folder=$last; done
mkdir -p "$root/etc" && echo "$1 $2" >> "$MADE"
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have chroots made in a folder of their own, and return the file that has a line for each."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("mmdebstrap", "unshare"):
        (programs / name).write_text(UNSHARE)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("MADE", str(tmp_path / "made"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "made"


def test_a_chroot_is_made_anew_when_other_packages_are_asked_for(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = chroot_of("3.13", MACHINE)
    assert root is not None
    (root / "etc/left").touch()
    assert chroot_of("3.13", MACHINE) == root
    assert made.read_text().count("mmdebstrap") == 1
    monkeypatch.setattr(chroots, "TOOLS", ("git",))
    assert chroot_of("3.13", MACHINE) == root
    assert made.read_text().count("mmdebstrap") == 2
    assert (root / PACKAGES).read_text() == "git,python3.13,python3.13-venv"
    assert not (root / "etc/left").exists()


def test_a_chroot_without_a_list_of_its_packages_is_made_again(made: Path) -> None:
    root = chroot_of("3.13", MACHINE)
    assert root is not None
    (root / PACKAGES).unlink()
    assert chroot_of("3.13", MACHINE) == root
    assert made.read_text().count("mmdebstrap") == 2


def test_another_machine_needs_an_emulator_of_its_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chroots, "EMULATORS", tmp_path)
    assert can_have_chroot("3.13", MACHINE)
    assert not can_have_chroot("3.13", "other")
    (tmp_path / "qemu-other").touch()
    assert can_have_chroot("3.13", "other")
    assert not can_have_chroot("3.12", "other")


def test_mounts_of_a_chroot_end_with_the_program(made: Path) -> None:
    chroot_of("3.13", MACHINE)
    assert made.read_text() == "--mount mmdebstrap\n"


def test_a_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_CERT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"no unshare: .* apt-get install util-linux\)"):
        run_in(tmp_path, "true")
    (tmp_path / "unshare").touch(0o755)
    with pytest.raises(SystemExit, match=r"no mmdebstrap: .* apt-get install mmdebstrap\)"):
        chroot_of("3.13", MACHINE)
