"""What may be set: one run's settings, validated, and the losses that bring their own. Nothing here loads torch."""
