"""The root folder of a file service. No name leads out of it, even if links and folders are moved at the same time.

A name is walked part by part: each part is opened relative to the previous folder, without following links. A link is
read, and its target is walked in its place, so links that stay inside work, and other links do not exist for callers.
Checks use open descriptors, never paths, since a path may change between a check and its use.
"""

import errno
import os
import stat
from types import TracebackType
from typing import Self

from fastrpc.errors import CallError, ConfigError
from fastrpc.files.information import FileInfo, info_of
from fastrpc.files.names import is_partial, parts_of, quoted
from fastrpc.files.refusals import refused_by_system
from fastrpc.status import Status

__all__ = ["RootPlace", "Root", "check_regular"]

#: Most parts that the walk of one name opens, including parts of the targets of links.
MOST_STEPS = 8_192

#: Most links in the walk of one name, as in Linux.
MOST_LINKS = 40

# O_PATH, where the system has it, also opens folders that may be passed through but not read.
_PASSED = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW

#: With these flags opening a pipe does not wait for its other end, and a terminal does not become the controlling one.
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class RootPlace:
    """An open folder, and the name of an entry that exists or may be created in it; `.` for the folder itself."""

    __slots__ = ("folder", "name", "status")

    def __init__(self, folder: int, name: str, status: os.stat_result | None) -> None:
        self.folder = folder
        self.name = name
        #: The status of the entry, which is never a link; None if the entry does not exist.
        self.status = status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def found(self) -> os.stat_result:
        """The status of the entry. FileNotFoundError: the entry does not exist."""
        if self.status is None:
            raise _nothing_there()
        return self.status

    def close(self) -> None:
        """Close the folder."""
        folder, self.folder = self.folder, -1
        if folder >= 0:
            os.close(folder)


class Root:
    """Opens files and folders below a folder. Every method blocks.

    Raises:
        ConfigError: the path is not a folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.path.abspath(os.fspath(path))
        if not os.path.isdir(self._path):
            raise ConfigError(f"the root {self._path} is not a folder", hint="create it, or give another one")
        #: Absolute targets of links that begin with one of these paths are inside the root.
        self._prefixes = {self._path, os.path.realpath(self._path)}

    def place(self, name: str) -> RootPlace:
        """Return the place of a name. The caller closes it.

        Raises:
            CallError: NOT_FOUND: a folder on the way is missing, or the name leads out of the root.
        """
        walk = _Walk(self, parts_of(name))
        with refused_by_system(name):
            return walk.run()

    def open_file(self, name: str) -> int:
        """Return a readable descriptor of a regular file.

        Raises:
            CallError: NOT_FOUND, INVALID_ARGUMENT or PERMISSION_DENIED.
        """
        with self.place(name) as place, refused_by_system(name):
            check_regular(name, place.found)
            descriptor = os.open(place.name, READ_FLAGS, dir_fd=place.folder)
            try:
                check_regular(name, os.fstat(descriptor))
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor

    def info(self, name: str) -> FileInfo:
        """Describe a file or a folder."""
        with self.place(name) as place, refused_by_system(name):
            status = place.found
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise _special(name)
            return info_of(name, status)

    def names_in(self, name: str) -> list[str]:
        """Return the names in a folder, sorted; `""` is the root."""
        with self._folder(name) as place, refused_by_system(name):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            descriptor = os.open(place.name, flags, dir_fd=place.folder)
            try:
                return sorted(entry for entry in os.listdir(descriptor) if not is_partial(entry))
            finally:
                os.close(descriptor)

    def _folder(self, name: str) -> RootPlace:
        if not name:
            return RootPlace(self.open_itself(), ".", None)
        place = self.place(name)
        try:
            with refused_by_system(name):
                is_folder = stat.S_ISDIR(place.found.st_mode)
            if not is_folder:
                raise CallError(Status.INVALID_ARGUMENT, f"{quoted(name)} is not a folder")
        except BaseException:
            place.close()
            raise
        return place

    def infos(self, names: list[str]) -> list[FileInfo]:
        """Describe files and folders. Skip other kinds of entries, and entries that lead outside or no longer exist."""
        found = []
        for name in names:
            try:
                found.append(self.info(name))
            except CallError as error:
                if error.status not in {Status.NOT_FOUND, Status.INVALID_ARGUMENT, Status.PERMISSION_DENIED}:
                    raise
        return found

    def open_itself(self) -> int:
        """Return a descriptor of the root."""
        return os.open(self._path, _PASSED & ~os.O_NOFOLLOW)

    def beneath(self, target: str) -> str | None:
        """Return an absolute path relative to the root, or None if it is outside."""
        for prefix in self._prefixes:
            if target == prefix or target.startswith(prefix.rstrip("/") + "/"):
                return target[len(prefix) :]
        return None


class _Walk:
    """The walk of one name through the folders."""

    def __init__(self, root: Root, parts: tuple[str, ...]) -> None:
        self._root = root
        # `_left`: the remaining parts in reverse order. `_passed`: the folders walked so far; none of them is a link.
        self._left = list(reversed(parts))
        self._passed: list[str] = []
        self._links = 0
        self._folder = -1

    def run(self) -> RootPlace:
        """Return the place of the name.

        Raises:
            FileNotFoundError: the name does not exist, or leads outside.
        """
        self._folder = self._root.open_itself()
        try:
            for _ in range(MOST_STEPS):
                if not self._left:
                    return self._found(".", os.stat(self._folder))
                found = self._step(self._left.pop())
                if found is not None:
                    return found
            raise _nothing_there()
        finally:
            if self._folder >= 0:
                os.close(self._folder)

    def _step(self, part: str) -> RootPlace | None:
        """Walk one part; return the place of the name after the last part."""
        if part in {"", "."}:
            return None
        if part == "..":
            if not self._passed:
                raise _nothing_there()
            self._restart(self._passed[:-1])
            return None
        try:
            status = os.stat(part, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            if self._left:
                raise
            return self._found(part, None)
        if stat.S_ISLNK(status.st_mode):
            self._follow(part)
            return None
        if not self._left:
            return self._found(part, status)
        self._enter(os.open(part, _PASSED, dir_fd=self._folder))
        self._passed.append(part)
        return None

    def _follow(self, part: str) -> None:
        """Replace a link by the parts of its target."""
        self._links += 1
        try:
            target = os.readlink(part, dir_fd=self._folder)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # The link was replaced by something else: walk the part again.
            target = part
        inside = self._root.beneath(target) if target.startswith("/") else target
        if inside is None or self._links > MOST_LINKS:
            raise _nothing_there()
        self._left += reversed(inside.split("/"))
        if target.startswith("/"):
            self._restart([])

    def _restart(self, parts: list[str]) -> None:
        """Continue from the root, with these parts first. The parent of an open folder may have changed."""
        self._left += reversed(parts)
        self._passed = []
        self._enter(self._root.open_itself())

    def _enter(self, folder: int) -> None:
        left, self._folder = self._folder, folder
        os.close(left)

    def _found(self, name: str, status: os.stat_result | None) -> RootPlace:
        place = RootPlace(self._folder, name, status)
        self._folder = -1
        return place


def _nothing_there() -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def check_regular(name: str, status: os.stat_result) -> None:
    """Check that an entry is a regular file.

    Raises:
        CallError: INVALID_ARGUMENT: it is not.
    """
    if stat.S_ISDIR(status.st_mode):
        raise CallError(Status.INVALID_ARGUMENT, f"{quoted(name)} is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise _special(name)


def _special(name: str) -> CallError:
    return CallError(Status.INVALID_ARGUMENT, f"{quoted(name)} is not a regular file")
