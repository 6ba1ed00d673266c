"""The client's side: calls that wait for an answer, with a loop and without one."""
