"""A program that a shell starts, forked from the interpreter of `warm_process`; it stands for `python` in its folder.

It is run as `python -IS warm_launcher.py DESCRIPTOR ARGUMENTS` and imports nothing of `tests`. It hands its standard
streams, environment and working directory on, passes signals on, and ends as the program ends.

Only modules in C are imported: `json`, `signal` and `socket` would take more than the start of Python itself, and the
pages of the guide start hundreds of programs.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import os
import sys

#: Programs that may be forked. Another program may have to see the imports: pytest rewrites its modules.
FORKED = ("fastrpc", "uvicorn")


def main() -> None:
    """Have the program forked, and wait for its end."""
    arguments = sys.argv[2:]
    if arguments[:1] == ["-m"] and arguments[1:2] and arguments[1] not in FORKED:
        os.execv(sys.executable, [sys.executable, *arguments])
    report, told = _socket.socketpair()
    interpreter = _socket.socket(fileno=int(sys.argv[1]))
    given = b"".join(one.to_bytes(4, sys.byteorder) for one in (0, 1, 2, told.fileno()))
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, given)
    interpreter.sendmsg([request(arguments)], [rights])
    interpreter.close()
    told.close()
    process = int.from_bytes(report.recv(4), "big")

    def pass_on(number: int, frame: object) -> None:
        os.kill(process, number)

    for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM):
        # A shell has its background jobs ignore an interrupt.
        if _signal.getsignal(number) is not _signal.SIG_IGN:
            _signal.signal(number, pass_on)
    code = int.from_bytes(report.recv(4), "big", signed=True)
    if code < 0:
        _signal.signal(-code, _signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def request(arguments: list[str]) -> bytes:
    """Return a request that the interpreter reads: the folder, the number of arguments, these, and the environment."""
    variables = [f"{name}={value}" for name, value in os.environ.items()]
    return os.fsencode("\0".join([os.getcwd(), str(len(arguments)), *arguments, *variables]))


if __name__ == "__main__":
    main()
