"""Files damaged on purpose: bytes flipped, cut out, put in, moved."""

from collections.abc import Callable

from hypothesis import strategies as st

Change = Callable[[bytes], bytes]


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """One to four changes to a file, each of at most some tens of bytes."""
    steps = draw(st.lists(_steps, min_size=1, max_size=4))

    def apply(content: bytes) -> bytes:
        for step in steps:
            content = step(content)
        return content

    return apply


_place = st.floats(0, 1, exclude_max=True)
"""Where in a file, as a share of its length: a failing example stays valid when the file's length differs."""


def _flip(place: float, bits: int) -> Change:
    def step(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :] if content else content

    return step


def _cut(place: float, length: int) -> Change:
    return lambda content: content[: int(place * len(content))] + content[int(place * len(content)) + length :]


def _insert(place: float, piece: bytes) -> Change:
    return lambda content: content[: int(place * len(content))] + piece + content[int(place * len(content)) :]


def _truncate(place: float) -> Change:
    return lambda content: content[: int(place * len(content))]


def _repeat(place: float, length: int) -> Change:
    def step(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[: at + length] + content[at:]

    return step


def _overwrite(place: float, piece: bytes) -> Change:
    def step(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + piece + content[at + len(piece) :]

    return step


_extremes = st.sampled_from([b"\xff" * 4, b"\xff" * 8, b"\x7f" * 8, b"\x00" * 8, b"\x80" * 9 + b"\x01", b"9" * 20])
_steps = st.one_of(
    st.builds(_flip, _place, st.integers(1, 255)),
    st.builds(_cut, _place, st.integers(1, 40)),
    st.builds(_insert, _place, st.binary(min_size=1, max_size=20)),
    st.builds(_overwrite, _place, _extremes | st.binary(min_size=1, max_size=12)),
    st.builds(_repeat, _place, st.integers(1, 60)),
    st.builds(_truncate, _place),
)
