"""Certificates for tests, made by the `openssl` program: authorities, servers, clients, and bad ones."""

import asyncio
import os
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fastrpc import TLS

__all__ = ["Authority", "Certificate", "shown_certificate"]

_CONFIG = """
[ca]
default_ca = here
[here]
database = index.txt
new_certs_dir = .
serial = serial
crlnumber = crlnumber
default_md = sha256
default_crl_days = 30
policy = any
copy_extensions = none
unique_subject = no
[any]
commonName = optional
[req]
distinguished_name = name
prompt = no
[name]
CN = test
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key."""

    cert_file: Path
    key_file: Path

    def tls(self, authority: "Authority | None" = None, **settings: object) -> TLS:
        """Return settings that show this certificate, and trust an authority."""
        if authority is not None:
            settings["ca_file"] = authority.cert_file
        return TLS(cert_file=self.cert_file, key_file=self.key_file, **settings)  # type: ignore[arg-type]

    def put(self, folder: Path) -> None:
        """Replace `tls.crt` and `tls.key`, one after the other: for a moment they do not belong to each other."""
        for name, path in (("tls.crt", self.cert_file), ("tls.key", self.key_file)):
            shutil.copy(path, folder / "new")
            os.replace(folder / "new", folder / name)

    def der(self) -> bytes:
        """Return the certificate as connections show it."""
        return ssl.PEM_cert_to_DER_cert(self.cert_file.read_text())


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.cert_file = self.folder / "authority.pem"
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("1000\n")
        (self.folder / "crlnumber").write_text("01\n")
        (self.folder / "config").write_text(_CONFIG)
        self._number = 0
        # `-set_serial`: authorities with equal names, as after a replacement, differ only in their keys.
        self._openssl(
            *("req", "-x509", "-config", "config", "-extensions", "authority", "-newkey", "ec", "-nodes"),
            *("-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "authority.key", "-out", "authority.pem"),
            *("-days", "30", "-subj", f"/CN={name}"),
        )

    def certificate(
        self,
        names: str = "DNS:localhost,IP:127.0.0.1,IP:::1",
        *,
        purpose: str = "serverAuth,clientAuth",
        period: tuple[str, str] | None = None,
        key: tuple[str, ...] = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        digest: str = "sha256",
        password: str = "",
        extensions: str = "",
    ) -> Certificate:
        """Make a certificate with these alternative names.

        Args:
            period: begin and end as `YYYYMMDDHHMMSSZ`; by default it is valid now.
            key: the argument of `openssl req -newkey`.
            extensions: further lines of the section that `openssl ca -extfile` takes.
        """
        self._number += 1
        stem = f"certificate{self._number}"
        extensions = f"extendedKeyUsage={purpose}\nbasicConstraints=critical,CA:FALSE\n{extensions}\n"
        if names:
            extensions += f"subjectAltName={names}\n"
        (self.folder / f"{stem}.ext").write_text(extensions)
        secret = ("-passout", f"pass:{password}") if password else ("-nodes",)
        self._openssl(
            *("req", "-new", "-config", "config", "-newkey", *key, *secret, "-keyout", f"{stem}.key"),
            *("-out", f"{stem}.csr", "-subj", f"/CN={stem}"),
        )
        valid = ("-days", "30") if period is None else ("-startdate", period[0], "-enddate", period[1])
        self._openssl(
            *("ca", "-batch", "-config", "config", "-cert", "authority.pem", "-keyfile", "authority.key"),
            *(
                "-in",
                f"{stem}.csr",
                "-out",
                f"{stem}.pem",
                "-notext",
                "-md",
                digest,
                "-extfile",
                f"{stem}.ext",
            ),
            *valid,
        )
        return Certificate(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")

    def revocations(self, *revoked: Certificate) -> Path:
        """Revoke certificates, and return the file with all revocations so far."""
        common = ("-config", "config", "-cert", "authority.pem", "-keyfile", "authority.key")
        for one in revoked:
            self._openssl("ca", *common, "-revoke", str(one.cert_file))
        self._openssl("ca", *common, "-gencrl", "-out", "revoked.pem")
        return self.folder / "revoked.pem"

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


async def shown_certificate(port: int, authority: Authority, protocol: str = "fastrpc/1") -> bytes:
    """Return the certificate that a new connection to a port of this machine sees."""
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    context.set_alpn_protocols([protocol])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        found = writer.get_extra_info("ssl_object").getpeercert(True)
        assert isinstance(found, bytes)
        return found
    finally:
        writer.transport.abort()
