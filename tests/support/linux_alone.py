"""Names that Linux alone has, of the systems that fastrpc is compiled for: in sources, MAP.md and tests."""

import ast
import ctypes
import re
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.support.source_tree import PACKAGE, ROOT, tree

__all__ = ["C_SOURCES", "compiled", "listed_names", "takes_away", "taken_away", "used_names"]

F = TypeVar("F", bound=Callable[..., Any])

#: Names that macOS lacks or, like SO_REUSEPORT, has with another meaning; and their companions, such as EFD_CLOEXEC.
_NAME: Final = re.compile(
    r"accept4|copy_file_range|epoll|eventfd|fdatasync|futex|getrandom|getxattr|inotify_init|"
    r"io_uring_setup|listxattr|malloc_trim|mallopt|memfd_create|pidfd_open|pipe2|posix_fadvise|"
    r"posix_fallocate|prctl|recvmmsg|sched_getaffinity|sched_setaffinity|sched_setscheduler|sendmmsg|"
    r"setns|setxattr|signalfd|sigtimedwait|sigwaitinfo|splice|statx|timerfd_create|unshare|waitid|AF_ALG|"
    r"AF_NETLINK|AF_PACKET|AF_VSOCK|CLOCK_BOOTTIME|CLOCK_MONOTONIC_COARSE|CLOCK_REALTIME_COARSE|"
    r"CLOCK_TAI|IPV6_MULTICAST_ALL|IP_BIND_ADDRESS_NO_PORT|IP_MULTICAST_ALL|IP_TRANSPARENT|"
    r"MSG_CMSG_CLOEXEC|MSG_ERRQUEUE|MSG_MORE|MSG_NOSIGNAL|MSG_ZEROCOPY|O_DIRECT|O_PATH|O_TMPFILE|"
    r"POLLRDHUP|RWF_NOWAIT|SIGPWR|SIGRTMIN|SIGSTKFLT|SOCK_CLOEXEC|SOCK_NONBLOCK|SO_BINDTODEVICE|"
    r"SO_BUSY_POLL|SO_DOMAIN|SO_INCOMING_CPU|SO_MARK|SO_MEMINFO|SO_PEERCRED|SO_PEERPIDFD|SO_PEERSEC|"
    r"SO_PROTOCOL|SO_REUSEPORT|SO_ZEROCOPY|TCP_CONGESTION|TCP_CORK|TCP_DEFER_ACCEPT|TCP_FASTOPEN|"
    r"TCP_INFO|TCP_KEEPIDLE|TCP_LINGER2|TCP_QUICKACK|TCP_SYNCNT|TCP_USER_TIMEOUT|TIOCOUTQ"
)
#: Files of the system.
_FILES: Final = ("/proc/", "/sys/", "/dev/shm")

#: Comments of Cython, but not lines of the C in it, and of C.
_COMMENTS: Final = re.compile(
    r"#(?! *(?:define|elif|else|endif|if|ifdef|ifndef|include)\b)[^\n]*|/\*[\s\S]*?\*/"
)

_HEADING: Final = "## Names that Linux alone has\n"

_taken: set[tuple[str, str]] = set()


def takes_away(*names: str, place: str) -> Callable[[F], F]:
    """Mark a test that takes away these names, which a file of the package uses."""
    _taken.update((name, place) for name in names)
    return lambda test: test


def taken_away() -> set[tuple[str, str]]:
    """Return the names that tests take away, with the files that use them."""
    return _taken


def listed_names() -> set[tuple[str, str]]:
    """Return the names in the table of MAP.md, with the files there."""
    _, _, section = (ROOT / "MAP.md").read_text(encoding="utf-8").partition(_HEADING)
    found: set[tuple[str, str]] = set()
    for row in re.findall(r"^\| (.*) \| (`.*`) \| .* \|$", section.partition("\n## ")[0], re.MULTILINE):
        names = re.findall(r"`([^`]+)`", row[0]) or [row[0].split()[0]]
        found.update((name, place) for name in names for place in re.findall(r"`([^`]+)`", row[1]))
    return found


def used_names() -> set[tuple[str, str]]:
    """Return the names that the sources of the package use, with their files."""
    found: set[tuple[str, str]] = set()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix == ".py":
            names = set(_names_in(path))
        elif path.suffix in {".pyx", ".pxd", ".h"}:
            names = set(re.findall(r"\w+", _COMMENTS.sub("", path.read_text(encoding="utf-8"))))
        else:
            continue
        place = str(path.relative_to(PACKAGE))
        found.update((name, place) for name in names if _NAME.fullmatch(name) or name.startswith(_FILES))
    return found


def _names_in(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if not _NAME.search(text) and not any(file in text for file in _FILES):
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            # Our own numbers of constants for which Python has no names.
            yield node.id.removeprefix("_")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def compiled(source: str, folder: Path) -> ctypes.CDLL:
    """Return a library made of C that includes headers of the core."""
    place, library = folder / "source.c", folder / "library.so"
    place.write_text(source, encoding="utf-8")
    command = ["cc", "-shared", "-fPIC", f"-I{PACKAGE / '_core'}", "-o", str(library), str(place)]
    subprocess.run(command, check=True)
    found = ctypes.CDLL(str(library))
    for name in ("now", "tick"):
        if hasattr(found, name):
            getattr(found, name).restype = ctypes.c_uint64
    return found


def _allocator() -> str:
    """Return the C about the allocator; no header comes before it, so the C library has no name."""
    source = (PACKAGE / "_core" / "server" / "memory_budget.pyx").read_text(encoding="utf-8")
    (found,) = re.findall(r'cdef extern from \*:\n    """\n(.*?)"""', source, re.DOTALL)
    return textwrap.dedent(found)


#: Parts of the core without names of Linux, each with a function for a test.
C_SOURCES: Final = {
    "hang_up": """
        #define _GNU_SOURCE
        #include <stddef.h>
        #include <poll.h>
        #undef POLLRDHUP
        #include "loop/hang_up.h"
        int look(int descriptor)
        {
            struct pollfd entry = {descriptor, 0, 0};
            frpc_look_for_ends(&entry, 1);
            return entry.revents;
        }
    """,
    "socket_io": """
        #include <stddef.h>
        #include <sys/socket.h>
        #undef MSG_NOSIGNAL
        typedef ptrdiff_t Py_ssize_t;
        #include "io/socket_io.h"
        int put(int descriptor, const char *data, int size) { return (int)frpc_send_bytes(descriptor, data, size); }
    """,
    "wire": """
        #include <stddef.h>
        #include <time.h>
        #undef CLOCK_MONOTONIC_COARSE
        typedef ptrdiff_t Py_ssize_t;
        #include "base/wire.h"
        uint64_t now(void) { return frpc_now_ns(); }
        uint64_t tick(void) { return frpc_tick_ns(); }
    """,
    "memory_budget": f"{_allocator()}\nint asked(void) {{ return return_free_pages() + map_large_blocks(1); }}\n",
}
