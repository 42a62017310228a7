"""A study: its frozen spec, its trials as the truth has them, and how it goes on."""
