"""A program that a shell starts, forked from the interpreter of `warm_process`; what stands for `python` in its folder.

It is run as `python -IS warm_launcher.py DESCRIPTOR ARGUMENTS` and imports nothing of `tests`. It hands its standard
streams, environment and working directory on, passes signals on, and ends as the program ends.
"""

import json
import os
import signal
import socket
import sys
from types import FrameType


def main() -> None:
    """Have the program forked, and wait for its end."""
    arguments = sys.argv[2:]
    if arguments[:1] == ["-m"] and arguments[1:2] != ["fastrpc"]:
        # Another program may have to see the imports: pytest rewrites what it loads.
        os.execv(sys.executable, [sys.executable, *arguments])
    request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    report, told = socket.socketpair()
    with socket.socket(fileno=int(sys.argv[1])) as interpreter:
        socket.send_fds(interpreter, [json.dumps(request).encode()], [0, 1, 2, told.fileno()])
    told.close()
    process = int.from_bytes(report.recv(4), "big")

    def pass_on(number: int, frame: FrameType | None) -> None:
        os.kill(process, number)

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # A shell has its background jobs ignore an interrupt.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    code = int.from_bytes(report.recv(4), "big", signed=True)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
