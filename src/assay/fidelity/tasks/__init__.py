"""Checks of a benchmark's tasks by their texts."""
