"""The command line of one run: train and predict."""
