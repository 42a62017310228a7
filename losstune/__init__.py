"""Which loss, with which settings, on your data."""
