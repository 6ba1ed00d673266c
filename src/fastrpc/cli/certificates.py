"""`fastrpc certs dev`: an authority and certificates with which to try out TLS."""

import ipaddress
import re
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from fastrpc.cli.output import stdout
from fastrpc.cli.printing import print_json, print_note, reported
from fastrpc.errors import ConfigError
from fastrpc.tls.openssl import new_serial, run_openssl
from fastrpc.workers.plan import ExitCode

__all__ = ["certs", "dev"]

#: The names of the written certificates; each has a file for the certificate and one for its key.
NAMES = ("authority", "server", "client")

#: The names of this machine, which every certificate of a server has.
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")

_CONFIG = """
[req]
distinguished_name = subject
prompt = no
[subject]
CN = fastrpc dev
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""

_EXTENSIONS = """
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {purpose}
subjectAltName = {names}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""

certs = typer.Typer(no_args_is_help=True, help="Certificates for TLS.", rich_markup_mode="markdown")


@certs.callback()
def _group() -> None:
    """Certificates for TLS."""


@certs.command("dev", epilog="Example: fastrpc certs dev certs --name localhost --name 10.0.0.7")
def dev(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where they go.")] = Path("certs"),
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="A host name or IP address of the server, besides localhost, 127.0.0.1 and ::1; may be repeated.",
        ),
    ] = None,
    client: Annotated[
        str, typer.Option("--client", metavar="NAME", help="The name in the client's certificate.")
    ] = "client",
    days: Annotated[int, typer.Option("--days", min=1, max=397, help="How long they are valid.")] = 30,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the files as one line of JSON.")] = False,
) -> None:
    """Make an authority, a server's and a client's certificate, for development only.

    Anyone who can read the authority's key can make trusted certificates: keep it secret.
    """
    with reported(ExitCode.FAILED, as_json=as_json):
        # The first name is the subject.
        names = _alternative_names([*dict.fromkeys([*(name or ()), *_LOCAL_NAMES])])
        files = {kind: (folder / f"{kind}.pem", folder / f"{kind}.key") for kind in NAMES}
        present = [str(path) for pair in files.values() for path in pair if path.exists()]
        if present and not force:
            raise ConfigError(f"{', '.join(present)} exists already", hint="--force replaces it")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fastrpc") as scratch:
            maker = _Maker(Path(scratch), folder, days)
            maker.make_authority()
            maker.make("server", "serverAuth", names)
            maker.make("client", "clientAuth", _alternative_names([client]))
    if as_json:
        print_json({kind: {"cert": str(cert), "key": str(key)} for kind, (cert, key) in files.items()})
        return
    for kind, (cert, key) in files.items():
        stdout.print((f"{kind:10}", "cyan"), f"{cert}  {key}")
    print_note(f"valid for {days} days; for development only")


def _alternative_names(names: list[str]) -> str:
    """Return names as OpenSSL writes them.

    Raises:
        ConfigError: a name is not a host name; a comma would begin another entry.
    """
    return ",".join(map(_alternative_name, names))


def _alternative_name(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        if not _HOST_NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is not a host name or IP address", hint="write it as orders.example or 10.0.0.7"
            ) from None
        return f"DNS:{name}"


class _Maker:
    """Makes the certificates of one authority."""

    def __init__(self, scratch: Path, folder: Path, days: int) -> None:
        self._scratch = scratch
        self._folder = folder
        self._days = str(days)
        self._config = self._write("config", _CONFIG)

    def make_authority(self) -> None:
        """Make the authority, which signs itself."""
        cert, key = self._paths("authority")
        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key)
        run_openssl(
            *("req", "-x509", "-config", self._config, "-extensions", "authority", "-days", self._days),
            *(*new_key, "-sha256", "-out", cert),
        )
        self._publish("authority")

    def make(self, kind: str, purpose: str, names: str) -> None:
        """Make a certificate with these names, for this purpose."""
        cert, key = self._paths(kind)
        request = str(self._scratch / f"{kind}.csr")
        extensions = self._write(f"{kind}.ext", _EXTENSIONS.format(purpose=purpose, names=names))
        authority, authority_key = self._paths("authority")
        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key)
        subject = f"/CN={names.partition(',')[0].partition(':')[2]}"
        run_openssl("req", "-new", "-config", self._config, "-subj", subject, *new_key, "-out", request)
        run_openssl(
            *("x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority_key, "-days", self._days),
            *("-set_serial", f"0x{new_serial()}", "-sha256", "-extfile", extensions, "-out", cert),
        )
        self._publish(kind)

    def _paths(self, kind: str) -> tuple[str, str]:
        return str(self._folder / f"{kind}.pem"), str(self._folder / f"{kind}.key")

    def _write(self, name: str, text: str) -> str:
        path = self._scratch / name
        path.write_text(text)
        return str(path)

    def _publish(self, kind: str) -> None:
        # A certificate is public; only keys are readable by their owner alone.
        (self._folder / f"{kind}.pem").chmod(0o644)
