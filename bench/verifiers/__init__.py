"""Answers by construction: how models write what is right, and what looks like it, a module a verifier.

Each has `pairs(rng)`: (reference, message, whether it is right), without end.
"""
