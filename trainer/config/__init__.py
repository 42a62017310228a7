"""One run's settings, validated."""
