"""The command line: thin; every command is a few calls of the library.

Exit codes: 0 done, 1 a fault of ours, a run of a sweep that failed or output that nobody reads on, 2 a wrong input,
130 interrupted.
"""
