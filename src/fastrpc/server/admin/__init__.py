"""The admin pages of a server: its state and metrics over HTTP, and changes by operators.

Imported only when a server with `ServerConfig.admin_address` starts.
"""
