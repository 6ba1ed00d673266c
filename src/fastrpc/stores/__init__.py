"""Key-value stores with watches and leases: one file or folder per kind of store.

A store may import only `stores.base`, and from the registries their `base` and their requests to etcd, Consul and
Deimos. It must not import another store, or anything that makes fastrpc calls. `memory` is the store of the embedded
registry and has folders. All other stores have one revision for all keys, transactions and a history. `local` is a
store in this process; `sqlite` keeps it across restarts. `remote` has the threads and the key prefix of stores on other
machines.
"""
