"""Requests of HTTP and their answers, in every version of it. It may import `server` and lower rooms."""
