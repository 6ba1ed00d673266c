"""The admin pages of a server: what runs, how much, how well, over HTTP and read-only.

Nothing of it is imported before a server with `ServerConfig.admin_address` starts.
"""
