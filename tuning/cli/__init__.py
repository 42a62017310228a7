"""The command line. With the trainer's own, the only importer of typer."""
