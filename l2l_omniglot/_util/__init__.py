"""Helpers that every package stands on.

- ``compat``: imports learn2learn on a current Python
- ``rng``: random streams from a key; global state is put back
- ``reading``: files that anybody may have made: bounds, JSON
- ``files``: the cache folder; atomic writes; digests
- ``download``: downloads with a known digest, within bounds
- ``lock``: a lock between processes
- ``kept``: what takes long to make, in the cache folder
- ``text``: tables, percentages, CSV, names made safe for a terminal
- ``process``: this process: memory, threads, device, signals, its place under torchrun
"""
