"""Key-value stores with watch and lease: one file or folder per kind of store.

A store depends on no call of ours. It may import the registries' `base`, their requests to etcd, Consul and Deimos, and
the stores' `base`, never another store. `memory` has folders, for the embedded registry. All other stores have one
revision for all keys, transactions and a history: `local` keeps them in this process, with `sqlite` across restarts;
`remote` has the threads and the key prefix of stores on other machines.
"""
