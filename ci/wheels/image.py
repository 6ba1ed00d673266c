"""Try an image as a container engine makes and runs it: the steps of `deploy/docker/Dockerfile`, in a chroot.

The base of the image is the chroot with an empty environment. The container is a program with the user, the variables,
the folder and the command of the image, in a network of its own.
"""

import json
import re
import shlex
import shutil
from pathlib import Path

from ci.wheels.chroots import chroot_of, run_in, virtual_environment
from ci.wheels.dockerfile import Dockerfile
from ci.wheels.trial import COMPILERS

__all__ = ["based_on", "try_image"]

IMAGE = Path("deploy/docker/Dockerfile")
#: Bytes that the image may add to its base, including byte code, with which it starts half a second sooner. Of these
#: fastrpc has 21 MB, uvloop 16, and pydantic and pygments, which typer and rich require, 18.
MOST_ADDED = 85_000_000
INSIDE = Path(__file__).with_name("try_image.py")


def based_on(version: str) -> bool:
    """Return whether the image's base has a CPython."""
    return Dockerfile(IMAGE).one("FROM") == f"python:{version}-slim"


def try_image(wheel: Path, version: str, machine: str) -> None:
    """Run the steps of the Dockerfile with a wheel as `dist`, then the container until its service has answered.

    Raises:
        SystemExit: a step failed, the image is too large, or the container does not behave as it should.
    """
    root = chroot_of(version, machine)
    if root is None:
        print(f"wheels: the image is not tried: there is no chroot of {version} {machine} here")
        return
    image = Dockerfile(IMAGE)
    virtual_environment(root, version)
    folder = root / image.one("WORKDIR").lstrip("/")
    for path in (root / "context", folder):
        shutil.rmtree(path, ignore_errors=True)
    (root / "context/dist").mkdir(parents=True)
    shutil.copy(wheel, root / "context/dist")
    before = _bytes_of(root)
    for step in image.all("RUN"):
        run_in(root, "sh", "-c", re.sub(r"--mount=\S+ ", "", step))
    # The files that a step mounts are not part of the image.
    shutil.rmtree(root / "context")
    added = _bytes_of(root) - before
    if added > MOST_ADDED:
        raise SystemExit(f"wheels: the image adds {added:,} bytes to its base; at most {MOST_ADDED:,}")
    folder.mkdir()
    for step in image.all("COPY"):
        shutil.copy(step.split()[0], folder)
    shutil.copy(INSIDE, root / "tmp")
    container = {
        "user": image.one("USER"),
        "folder": image.one("WORKDIR"),
        "variables": image.environment,
        "command": json.loads(image.one("CMD")),
        "probe": json.loads(image.one("HEALTHCHECK").partition("CMD ")[2]),
        "compilers": COMPILERS,
    }
    inside = shlex.join(["python3", f"/tmp/{INSIDE.name}", json.dumps(container)])
    print(run_in(root, "unshare", "--net", "sh", "-c", f"ip link set lo up && exec {inside}").strip())
    print(f"wheels: the image of {wheel.name} adds {added:,} bytes to its base", flush=True)


def _bytes_of(root: Path) -> int:
    """Return the bytes in the environment and the folder of data."""
    found = [path for name in ("tmp/tried", "data") for path in (root / name).rglob("*")]
    return sum(path.lstat().st_size for path in found)
