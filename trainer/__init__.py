"""The training core: data, losses, metrics, model, loop. It knows nothing of search."""
