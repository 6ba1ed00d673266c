"""The wire protocols of servers, one in each file. The first bytes of a connection select one."""
