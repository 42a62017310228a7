"""Metrics of retrieval and geometry."""
