"""The embedded registry: the service, its client (`registry://`), and the file of its records.

The backend of `registry://` is `client`; `lookup` reads the list of one service, `services_lookup` the lists of many.
"""
