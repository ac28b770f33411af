"""Measurements of speed and memory; nothing in the package or its tests depends on them."""
