"""The encoder, frozen parts, and the optimizer."""
