"""Compiled modules that the builds of one user share, by the key of all that they are made of."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["ModuleCache", "cache_folder"]

#: Some 40 builds of a release.
LIMIT_BYTES = 512 << 20

DIGEST_BYTES = hashlib.sha256().digest_size


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder of the kept modules; None if `FASTRPC_BUILD_CACHE=off`."""
    chosen = environment.get("FASTRPC_BUILD_CACHE", "on")
    if chosen not in ("on", "off"):
        raise SystemExit(f"FASTRPC_BUILD_CACHE is on or off, not {chosen!r}")
    # By its specification a relative path does not count.
    base = Path(environment.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        home = environment.get("HOME", "")
        base = Path(home, ".cache")
    return base / "fastrpc" if chosen == "on" and base.is_absolute() else None


class ModuleCache:
    """A folder of compiled modules, used only if its owner is the only one who can write there.

    A file is a digest followed by the module: a damaged file does not count.
    """

    def __init__(self, folder: Path | None, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        #: Why the folder is not used, or no longer used; empty if it is used.
        self.refusal = ""
        self._prepare()

    def take(self, key: str, target: Path) -> bool:
        """Put the module of a key at a path, by rename; return whether the cache had it."""
        if self._folder is None:
            return False
        kept = self._folder / key
        try:
            content = kept.read_bytes()
        except OSError:
            return False
        digest, module = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if hashlib.sha256(module).digest() != digest:
            kept.unlink(missing_ok=True)
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(target, module, 0o755)
        with suppress(FileNotFoundError):  # Another build may have removed it meanwhile.
            os.utime(kept)
        return True

    def keep(self, key: str, module: Path) -> None:
        """Keep a module under its key."""
        if self._folder is None:
            return
        content = module.read_bytes()
        try:
            _write_whole(self._folder / key, hashlib.sha256(content).digest() + content, 0o600)
        except OSError as error:
            # The module is built, with or without a copy in the cache.
            self._give_up(f"{self._folder}: {error.strerror}")

    def prune(self) -> None:
        """Remove the modules that were used longest ago, until the remaining ones fit."""
        if self._folder is None:
            return
        entries = []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # Another build prunes, too.
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        held = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if held <= self._limit_bytes:
                break
            path.unlink(missing_ok=True)
            held -= size

    def _prepare(self) -> None:
        """Make the folder; give it up if it cannot be made or is not safe."""
        folder = self._folder
        if folder is None:
            return
        try:
            for each in reversed((folder, *folder.parents)):
                # Only the owner can open the folders that are made above it, too, under any umask.
                if not each.exists():
                    each.mkdir(mode=0o700, exist_ok=True)
            refusal = _unsafe(folder)
        except OSError as error:
            refusal = f"{folder}: {error.strerror}"
        if refusal:
            self._give_up(refusal)

    def _give_up(self, refusal: str) -> None:
        self._folder, self.refusal = None, refusal


def _unsafe(folder: Path) -> str:
    """Return why modules of a folder could be another user's; empty if they cannot."""
    for path, owners in ((folder, {os.geteuid()}), (folder.parent, {os.geteuid(), 0})):
        # A link could be turned to another folder after the check; above the folder links may be the owner's choice.
        status = os.lstat(path) if path is folder else path.stat()
        if not stat.S_ISDIR(status.st_mode):
            return f"{path} is not a folder"
        if status.st_uid not in owners:
            return f"{path} belongs to another user"
        is_sticky = path is not folder and status.st_mode & stat.S_ISVTX
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_sticky:
            return f"{path} can be written by others"
    return ""


def _write_whole(path: Path, content: bytes, mode: int) -> None:
    """Write a file so that other processes see either all of it or no file."""
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
