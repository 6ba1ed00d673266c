"""Descriptions of a server's methods for HTTP: an OpenAPI document, and in `site/` a page and a client module.

The document knows definitions of services, and no connection; servers make it and serve it.
"""
