"""Registries map a service name to its endpoints: one file or folder per kind of registry.

A registry makes no calls and has no client. It may import `stores`, `config`, `endpoint`, `errors`, `bounded_http` and
the registries' `base`, but no other registry.
"""

from fastrpc.registries.base.changes import EndpointChange, changes
from fastrpc.registries.base.policy import AddressPolicy
from fastrpc.registries.base.registry import Registry, WatchedRegistry
from fastrpc.registries.base.snapshot import Snapshot
from fastrpc.registries.base.urls import open_registry, split_target
from fastrpc.registries.base.watch import ServicesWatch, Watch
from fastrpc.registries.merged import Merged
from fastrpc.registries.static import StaticRegistry

__all__ = [
    "AddressPolicy",
    "EndpointChange",
    "Merged",
    "Registry",
    "ServicesWatch",
    "Snapshot",
    "StaticRegistry",
    "Watch",
    "WatchedRegistry",
    "changes",
    "open_registry",
    "split_target",
]
