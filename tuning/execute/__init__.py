"""Trials on Ray: session, workers, scheduler, nodes, GPUs. The only package that imports ray."""
