"""Certificates for the peers that encrypt, made anew for each run, and their cipher."""

import os
import subprocess
import sys
from pathlib import Path

from bench.compare.paths import BUILD, ROOT
from bench.compare.peers.base import PeerUnavailableError

__all__ = ["AUTHORITY", "CERTIFICATE", "KEY", "make_certificates"]

_FOLDER = BUILD / "certificates"

AUTHORITY: Path = _FOLDER / "authority.pem"
CERTIFICATE: Path = _FOLDER / "server.pem"
KEY: Path = _FOLDER / "server.key"


#: All that use OpenSSL agree to the cipher that Go prefers.
_OPENSSL = """
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = ciphers
[ciphers]
Ciphersuites = TLS_AES_128_GCM_SHA256
"""


def make_certificates() -> None:
    """Make an authority and a server's certificate, and choose AES-128-GCM for all processes of this run.

    Raises:
        PeerUnavailableError: the program `openssl` is missing.
    """
    command = [sys.executable, "-m", "fastrpc", "certs", "dev", str(_FOLDER), "--force"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    if outcome.returncode:
        raise PeerUnavailableError(f"no certificates: {outcome.stderr.strip()}")
    configuration = _FOLDER / "openssl.cnf"
    configuration.write_text(_OPENSSL)
    os.environ["OPENSSL_CONF"] = str(configuration)
