"""Chroots are kept while they have the packages that are asked for."""

import os
from pathlib import Path

import pytest

from ci.wheels import chroots
from ci.wheels.chroots import PACKAGES, chroot_of, run_in

MACHINE = os.uname().machine
#: Stands for mmdebstrap: makes the folder of a chroot and no packages, without a network.
DEBSTRAP = """#!/bin/sh
for made; do root=$folder folder=$made; done
mkdir -p "$root/etc" && echo made >> "$MADE"
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have chroots made in a folder of their own, and return the file that has a line for each."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "mmdebstrap").write_text(DEBSTRAP)
    (programs / "mmdebstrap").chmod(0o755)
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
    assert made.read_text().count("made") == 1
    monkeypatch.setattr(chroots, "TOOLS", ("git",))
    assert chroot_of("3.13", MACHINE) == root
    assert made.read_text().count("made") == 2
    assert (root / PACKAGES).read_text() == "git,python3.13,python3.13-venv"
    assert not (root / "etc/left").exists()


def test_a_chroot_without_a_list_of_its_packages_is_made_anew(made: Path) -> None:
    root = chroot_of("3.13", MACHINE)
    assert root is not None
    (root / PACKAGES).unlink()
    assert chroot_of("3.13", MACHINE) == root
    assert made.read_text().count("made") == 2


def test_a_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_CERT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"no mmdebstrap: .* apt-get install mmdebstrap\)"):
        chroot_of("3.13", MACHINE)
    with pytest.raises(SystemExit, match=r"no unshare: .* apt-get install util-linux\)"):
        run_in(tmp_path, "true")
