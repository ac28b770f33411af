"""Runs: from settings to results that can be repeated."""
