"""The admin pages of a server: its state and its figures, over HTTP and read-only.

Imported only when a server with `ServerConfig.admin_address` starts.
"""
