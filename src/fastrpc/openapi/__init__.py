"""Descriptions of a server's methods for HTTP: an OpenAPI document, and in `site/` a page and a client module.

The document depends on service definitions, not on connections. Servers create and serve it.
"""
