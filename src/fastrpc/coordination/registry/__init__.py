"""The embedded registry: a service, its client half `registry://`, and the file of its records."""
