"""A value that is read from a file again whenever the file changes."""

import logging
import os
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from fastrpc.errors import ConfigError

__all__ = ["LOOK_SECONDS", "WatchedFile"]

#: Seconds between two checks of the file. Too low costs system calls, too high keeps old content for longer.
LOOK_SECONDS: Final = 1.0

#: Longest file in bytes.
MOST_BYTES: Final = 16 * 1024 * 1024

T = TypeVar("T")

# Device, inode, size and time of modification; None: there is no file.
_Print = tuple[int, int, int, int] | None


class WatchedFile(Generic[T]):
    """The value of a file, read again when the file changes.

    A change is detected by device, inode, size and modification time. Links are followed, because Kubernetes replaces
    links. A change takes effect when two checks a second apart agree, or when the file was last modified more than a
    second ago, so that a half-written file is not read. If the new file cannot be used, the previous value stays.

    Args:
        kind: the name of the file in logs, such as "the policy" or "the tokens".
        read: converts the content to the value. It raises ConfigError, without secrets in the text, if this fails.
        opener: as for `open`; raises ConfigError for a file that must not be used.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kind: str,
        read: Callable[[str], T],
        *,
        logger: logging.Logger,
        opener: Callable[[str, int], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = os.fspath(path)
        self._kind = kind
        self._read = read
        self._logger = logger
        self._opener = opener
        self._clock = clock
        self._wall_clock = wall_clock
        self._seen = self._taken = _print_of(self.path)
        # `_warned`: the unusable file that was logged. `_useless`: the last state of a file whose content is unusable.
        self._warned: object = self
        self._useless: object = self
        self.value = self._made()
        #: The number of times that a new value was read.
        self.version = 0
        self._look_due = clock() + LOOK_SECONDS

    def look(self) -> bool:
        """Check the file if the last check is a second ago. Return whether a new value was read."""
        now = self._clock()
        if now < self._look_due:
            return False
        self._look_due = now + LOOK_SECONDS
        before, self._seen = self._seen, _print_of(self.path)
        if self._seen == self._taken or not (self._seen == before or self._rests()):
            return False
        # A file with unusable content is not read again until it changes. An unreadable file may become readable.
        return self._useless != self._state() and self._take()

    def reload(self) -> bool:
        """Read the file now. Return whether a new value was read."""
        self._seen = _print_of(self.path)
        return self._take()

    def _state(self) -> tuple[_Print, float | None]:
        return self._seen, self._changed_at()

    def _take(self) -> bool:
        state = self._state()
        try:
            value = self._made()
        except ConfigError as error:
            self._useless = self if isinstance(error.__context__, OSError) else state
            if self._warned != self._seen:
                self._warned = self._seen
                self._logger.warning("%s cannot be used, the old content stays: %s", self._kind, error)
            return False
        if _print_of(self.path) != self._seen:
            return False
        self._taken = self._seen
        self._warned = self._useless = self
        self.value = value
        self.version += 1
        self._logger.info("%s was read again: %s", self._kind, self.path)
        return True

    def _made(self) -> T:
        try:
            with open(self.path, "rb", opener=self._opener) as file:
                content = file.read(MOST_BYTES + 1)
        except ConfigError as error:
            raise self._named(error) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"{self._kind} {self.path!r} cannot be read: {reason}") from None
        if len(content) > MOST_BYTES:
            raise ConfigError(f"{self._kind} {self.path!r} is longer than {MOST_BYTES:,} bytes")
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            # The error does not show the bytes, which may be a secret.
            raise ConfigError(f"{self._kind} {self.path!r} is not UTF-8 at byte {error.start}") from None
        try:
            return self._read(text)
        except ConfigError as error:
            raise self._named(error) from None

    def _named(self, error: ConfigError) -> ConfigError:
        return ConfigError(f"{self._kind} {self.path!r}: {error.message}", hint=error.hint)

    def _rests(self) -> bool:
        """Return whether the file has been unchanged for a second, so that one check is enough."""
        changed_at = self._changed_at()
        return changed_at is not None and changed_at <= self._wall_clock() - LOOK_SECONDS

    def _changed_at(self) -> float | None:
        """Return the time of the last change of the file or its permissions; None: there is no file."""
        try:
            return os.stat(self.path).st_ctime
        except (OSError, ValueError):
            return None


def _print_of(path: str) -> _Print:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
