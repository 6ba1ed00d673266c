"""The LAN pass of a program: the settings of TLS for its holders, and the keys of their announcements.

A pass is not an identity: it encrypts, and excludes strangers. `authenticate` and a policy decide what a holder may do.
"""

import os
from typing import final

from fastrpc.config import TLS
from fastrpc.registries.lan.keys import LanKeys
from fastrpc.tls.pass_file import open_pass, pass_client_tls, pass_server_tls
from fastrpc.watched_file import WatchedFile

__all__ = ["LanPass", "load_lan_pass"]


@final
class LanPass:
    """A file that `fastrpc lan pass` wrote, checked when it is loaded.

    ::

        lan_pass = load_lan_pass("lan.pass")
        await server.listen("tls://10.0.0.7:8972", config=ServerConfig(tls=lan_pass.server_tls()))
        client = Client("tls://10.0.0.7:8972", config=ClientConfig(tls=lan_pass.client_tls()))

    TLS and `lan_keys` read the file again when it changes.
    """

    def __init__(self, path: str, lan_keys: WatchedFile[LanKeys]) -> None:
        self.path = path
        #: The keys of announcements by id, for one node of `lan://`.
        self.lan_keys = lan_keys

    def server_tls(self) -> TLS:
        """Return the settings of a server whose clients have to hold a pass of the file."""
        return pass_server_tls(self.path)

    def client_tls(self) -> TLS:
        """Return the settings of a client that presents the first pass, to servers that hold a pass of the file."""
        return pass_client_tls(self.path)

    def __repr__(self) -> str:
        return f"LanPass({self.path!r})"


def load_lan_pass(path: str | os.PathLike[str]) -> LanPass:
    """Load a LAN pass.

    Raises:
        ConfigError: the file is missing or damaged, others may use it, or its pass has expired.
    """
    # Make the path absolute, so that a later `chdir` does not change the file.
    absolute = os.path.abspath(os.fspath(path))
    return LanPass(absolute, open_pass(absolute))
