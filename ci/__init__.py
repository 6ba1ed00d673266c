"""The tools behind the commands of the Makefile, and `ci.compiling`, which compiles the core."""
