"""Run a container's command with its image as the root: run by ci.wheels.image, with the image's settings as JSON."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: Seconds until a service is up and has answered.
PATIENCE = 60


def main(image: dict[str, Any]) -> None:
    user, group = (int(number) for number in image["user"].split(":"))
    variables = {"PATH": os.environ["PATH"], **image["variables"]}

    def run(command: list[str], **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=image["folder"],
            env=variables,
            user=user,
            group=group,
            extra_groups=[],
            text=True,
            **options,
        )

    if found := [name for name in image["compilers"] if shutil.which(name)]:
        sys.exit(f"image: it has a compiler: {', '.join(found)}")
    service = run(image["command"], stderr=subprocess.PIPE)
    until = time.monotonic() + PATIENCE
    while run(image["probe"], stderr=subprocess.DEVNULL).wait():
        if service.poll() is not None or time.monotonic() > until:
            service.kill()
            sys.exit(f"image: the service was not ready within {PATIENCE} s:\n{service.communicate()[1]}")
    status = Path(f"/proc/{service.pid}/status").read_text()
    (users,) = (line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
    call = run(["fastrpc", "call", "tcp://127.0.0.1:8972", "arith.mul", "6", "7"], stdout=subprocess.PIPE)
    answer = call.communicate()[0].strip()
    service.terminate()
    errors = service.communicate()[1]
    if users != [str(user)] * 4 or answer != "42" or service.returncode:
        sys.exit(f"image: users {users}, answer {answer!r}, exit code {service.returncode}\n{errors}")
    print(f"image: no compiler, user {user}, /readyz is 200, 6 × 7 = {answer}, exit code 0 after SIGTERM")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
