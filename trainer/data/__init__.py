"""Pairs of inputs and targets: formats, checks, splits."""
