"""One client for many services of a registry.

arguments   the arguments of both, checked;  tenants: the client of each service, the rest and the end of idle ones
many        the part of both: verbs, views
services    `Services`, on a loop;  blocking: `SyncServices`, without one
places      the addresses that services share;  sharing: their connections;  blocking_sharing: without a loop
"""
