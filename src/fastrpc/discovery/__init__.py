"""`any://`: one address for a service in the process, on the host, and beyond.

    scopes        the scopes, nearest first, and the labels of servers
    process       the servers of this process
    any_registry  the registry over one registry of each scope
    finding       `fastrpc.discover`
    lan_pass      the secrets of a local network; `pass_making` writes them

It may import registries and selectors, no client and no server.
"""

from fastrpc.discovery.finding import Found, discover

__all__ = ["Found", "discover"]
