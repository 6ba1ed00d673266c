"""Key-value stores with watch and lease: one file or folder per kind of store.

A store may import only its own `base`, and of the registries their `base` and their requests to etcd, Consul and
Deimos: nothing of another store, and nothing that makes fastrpc calls. `memory` has folders, for the embedded registry.
All other stores have one revision for all keys, transactions and a history: `local` keeps them in this process, with
`sqlite` across restarts; `remote` has the threads and the key prefix of stores on other machines.
"""
