"""A store in Consul 1.8 or later, by the HTTP API of an agent."""

from fastrpc.stores.consul.store import ConsulStore, open_consul_store

__all__ = ["ConsulStore", "open_consul_store"]
