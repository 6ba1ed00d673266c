"""Certificates for the promises about TLS, made by the program `openssl`."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import fastrpc

__all__ = ["Made", "make_certificate"]


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    cert_file: Path
    key_file: Path

    def tls(self) -> fastrpc.TLS:
        return fastrpc.TLS(cert_file=self.cert_file, key_file=self.key_file)


def make_certificate(
    folder: Path,
    name: str,
    *,
    key: str = "ec:P-256",
    authority: Made | None = None,
    names: str = "DNS:localhost,IP:127.0.0.1",
) -> Made:
    """Make a certificate of this machine by an authority, or the certificate of an authority itself.

    Args:
        key: `rsa:BITS` or `ec:CURVE`.
        names: its alternative names, in the form of `openssl`.
    """
    made = Made(folder / f"{name}.pem", folder / f"{name}.key")
    kind, _, size = key.partition(":")
    wanted = [f"rsa:{size}"] if kind == "rsa" else ["ec", "-pkeyopt", f"ec_paramgen_curve:{size}"]
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-newkey", *wanted]
    command += ["-keyout", str(made.key_file), "-out", str(made.cert_file)]
    if authority is not None:
        command += ["-CA", str(authority.cert_file), "-CAkey", str(authority.key_file)]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    command += ["-addext", f"subjectAltName={names}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return made
