"""Settings of TLS."""

import os

from fastrpc.config.validation import (
    Settings,
    check_flag,
    check_name,
    check_names,
    check_path,
    check_tls,
    settings_class,
)

__all__ = ["TLS"]


@settings_class
class TLS(Settings):
    """Certificates as PEM files, for `tls://host:port`. They are read when a server listens or a client connects.

    Attributes:
        cert_file: the certificate chain of this side; a server needs it, a client without it cannot prove its identity.
        key_file: the key of `cert_file`; None if `cert_file` contains it.
        key_password: the password of an encrypted key; never shown.
        ca_file: the trusted certificate authorities; None uses the system's. Too many authorities let strangers vouch
            for a peer; a peer whose authority is missing is refused. A server with `ca_file` asks clients for a
            certificate, and refuses a certificate that it cannot verify.
        crl_file: the revocation lists of authorities. A peer is refused if its certificate is revoked, or the file has
            no list of its authority.
        require_client_cert: Server: refuse clients without a certificate signed by `ca_file`.
        server_name: Client: the name expected in the server's certificate; None uses the host of the address.
        server_identities: Client: URIs such as `spiffe://corp/orders`, of which the server's certificate has to have
            one, in place of the host name.
    """

    cert_file: str | os.PathLike[str] | None = None
    key_file: str | os.PathLike[str] | None = None
    key_password: str | None = None
    ca_file: str | os.PathLike[str] | None = None
    crl_file: str | os.PathLike[str] | None = None
    require_client_cert: bool = False
    server_name: str | None = None
    server_identities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("cert_file", "key_file", "ca_file", "crl_file"):
            check_path(self, name)
        check_flag(self, "require_client_cert")
        if self.server_name is not None:
            check_name(self, "server_name")
        if self.server_identities != ():
            check_names(self, "server_identities")
        check_tls(self)
