"""Helpers that every room uses.

``compat`` imports learn2learn · ``files`` cache folder, atomic writes · ``process`` memory,
device, signals, torchrun · ``rng`` random streams by key · ``text`` tables, names, numbers
"""
