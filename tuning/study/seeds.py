"""Seeds that follow from a study's own."""

import hashlib


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed from a study's seed and names or numbers, the same on every machine."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
