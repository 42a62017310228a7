"""A number that torch code and code without torch share."""

UNIT_EPS = 1e-6
"""Norm below which a vector has no direction."""
