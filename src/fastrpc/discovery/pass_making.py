"""New passes of a local network, and their order in a file."""

import secrets
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fastrpc.errors import ConfigError
from fastrpc.replaced_file import replaced_file
from fastrpc.tls.certificate import LAN_SUBJECT
from fastrpc.tls.openssl import new_serial, run_openssl
from fastrpc.tls.pass_file import LAN_NAME, MOST_BYTES, Pass, open_pass_file, passes_in, sealed_pass

__all__ = ["add_pass", "keep_first", "new_pass", "present_last"]

#: Seconds before its creation from which a pass is valid, for machines whose clock is behind.
EARLY_SECONDS: Final = 86_400
#: Seconds after its creation until which a pass is valid: ten years.
LIFE_SECONDS: Final = 3_650 * 86_400

_HEADER: Final = "# A LAN pass of fastrpc: a secret of the machines that have it.\n"

_CONFIG: Final = """
[ca]
default_ca = here
[here]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = subject
prompt = no
[subject]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[member]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:{name}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def add_pass(path: Path) -> Pass:
    """Add a new pass at the end of a file, which is made if it is missing.

    Raises:
        ConfigError: the file cannot be used, or `openssl` refuses.
    """
    known = _passes_at(path) if path.is_symlink() or path.exists() else []
    made = new_pass()
    _write(path, [*known, made])
    return made


def present_last(path: Path) -> Pass:
    """Move the last pass of a file to its front.

    Raises:
        ConfigError: the file cannot be used.
    """
    *others, last = _passes_at(path)
    _write(path, [last, *others])
    return last


def keep_first(path: Path) -> Pass:
    """Remove all passes of a file but the first.

    Raises:
        ConfigError: the file cannot be used.
    """
    first, *_ = _passes_at(path)
    _write(path, [first])
    return first


def new_pass(now: float | None = None) -> Pass:
    """Return a new pass.

    Args:
        now: the instant of its creation, in seconds of `time.time()`; None reads the clock.

    Raises:
        ConfigError: `openssl` is missing, or refuses.
    """
    instant, name = time.time() if now is None else now, secrets.token_hex(4)
    with tempfile.TemporaryDirectory(prefix="fastrpc") as folder:
        maker = _Maker(Path(folder), instant)
        maker.make("authority", f"{LAN_SUBJECT} {name} authority")
        maker.make("member", f"{LAN_SUBJECT} {name}")
        blocks = [(Path(folder) / each).read_text() for each in ("member.key", "member.pem", "authority.pem")]
    [made] = passes_in(sealed_pass(name, secrets.token_bytes(32), blocks))
    return made


class _Maker:
    """Makes the certificates of a pass in a folder, by `openssl ca`: other commands cannot backdate their validity."""

    def __init__(self, folder: Path, now: float) -> None:
        self._folder = folder
        begin, end = (_instant(now - EARLY_SECONDS), _instant(now + LIFE_SECONDS))
        self._life = ("-startdate", begin, "-enddate", end)
        self._config = folder / "config"
        self._config.write_text(_CONFIG.format(folder=folder, name=LAN_NAME))
        (folder / "index").touch()

    def make(self, kind: str, subject: str) -> None:
        """Make a key and its certificate, signed by the authority."""
        request, key, cert = (str(self._folder / f"{kind}.{end}") for end in ("csr", "key", "pem"))
        signer = ("-selfsign",) if kind == "authority" else ("-cert", str(self._folder / "authority.pem"))
        (self._folder / "serial").write_text(f"{new_serial()}\n")
        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key)
        config = ("-config", str(self._config))
        run_openssl("req", "-new", *config, "-subj", f"/CN={subject}", *new_key, "-out", request)
        run_openssl(
            *("ca", "-batch", *config, "-extensions", kind, *self._life, "-notext", "-in", request),
            *("-keyfile", str(self._folder / "authority.key"), *signer, "-out", cert),
        )


def _instant(seconds: float) -> str:
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds))


def _passes_at(path: Path) -> list[Pass]:
    try:
        with open(path, opener=open_pass_file, encoding="utf-8") as file:
            return passes_in(file.read())
    except ConfigError as error:
        raise ConfigError(f"the LAN pass {str(path)!r}: {error.message}", hint=error.hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the LAN pass {str(path)!r} cannot be read: {error}") from None


def _write(path: Path, passes: Sequence[Pass]) -> None:
    """Replace a file, for its owner alone.

    Raises:
        ConfigError: it would be too long to be read, or cannot be written.
    """
    content = "".join([_HEADER, *(one.text for one in passes)]).encode()
    if len(content) > MOST_BYTES:
        raise ConfigError(
            f"the LAN pass {str(path)!r} would have {len(content):,} bytes, it may have {MOST_BYTES:,}",
            hint=f"run `fastrpc lan pass {path} --only` first, which keeps the pass that is presented",
        )
    try:
        with replaced_file(path) as file:
            file.write(content)
    except OSError as error:
        raise ConfigError(f"the LAN pass {str(path)!r} cannot be written: {error.strerror}") from error
