"""Pixels come in here only, and become tasks."""
