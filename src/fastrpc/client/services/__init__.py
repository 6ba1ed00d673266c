"""One client for many services of a registry.

arguments   the checked arguments of both clients
tenants     the client of each service, which rests and is dropped when it is idle
many        the part that both clients share: verbs, views
services    `Services`, on a loop;  blocking: `SyncServices`, without a loop
places      the addresses that services share;  sharing: their connections;  blocking_sharing: without a loop
"""
