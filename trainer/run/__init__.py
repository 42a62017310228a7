"""One training run: loop, checkpoints, its folder, predictions."""
