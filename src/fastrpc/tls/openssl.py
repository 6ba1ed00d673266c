"""The program `openssl`, which writes certificates.

It is part of nearly every system that runs servers; a package that writes certificates would be a large dependency for
two commands.
"""

import secrets
import subprocess
from typing import Final

from fastrpc.errors import ConfigError

__all__ = ["new_serial", "run_openssl"]

_SECONDS: Final = 60


def new_serial() -> str:
    """Return a random serial number of a certificate in hexadecimal."""
    # Positive, and at most 20 bytes (RFC 5280, 4.1.2.2).
    return "01" + secrets.token_hex(15)


def run_openssl(*arguments: str) -> None:
    """Run the program `openssl`. The files that it writes are for their owner alone.

    Raises:
        ConfigError: it is not installed, or refuses.
    """
    try:
        done = subprocess.run(  # noqa: S603 (the arguments are ours, names are checked)
            ["openssl", *arguments],  # noqa: S607 (the system's own)
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            umask=0o077,
        )
    except FileNotFoundError:
        raise ConfigError(
            "the program openssl is not installed", hint="install it, such as by: apt install openssl"
        ) from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"openssl {arguments[0]} did not end within {_SECONDS} s") from None
    if done.returncode:
        raise ConfigError(f"openssl {arguments[0]} failed: {' '.join(done.stderr.split())[:300]}")
