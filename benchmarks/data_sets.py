"""Real pairs, different in size, dimension and ids, from packages alone: what benchmarks search and train on.

    sudo apt-get install wordnet-base dict-freedict-fra-eng
    python benchmarks/data_sets.py FOLDER

| | rows | inputs → targets | ids |
|---|---|---|---|
| digits | 1,797 | left half of a digit → its right half | one a row |
| words | 8,430 | definition of a noun → the noun, both embedded by MiniLM (384) | one a row |
| senses | 5,000 | definition of a verb → the verb, embedded | several definitions have one verb |
| french | 5,000 | French word → its English translation, embedded; MiniLM knows little French | several have one |
| photos | 6,000 | left half of a patch of a photograph → its right half, RGB (192) | one a row |

digits is in the product by that name; the others are written as FOLDER/NAME.npz, once.
"""

import gzip
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "examples" / "text-pairs"))
from pairs import WORDNET, embed, nouns  # noqa: E402 - of the example

FREEDICT = Path("/usr/share/dictd/freedict-fra-eng.dict.dz")
Arrays = dict[str, npt.NDArray[np.generic]]
SEED = 0


def words() -> Arrays:
    """Definitions of nouns and the nouns: the pairs of examples/text-pairs."""
    return embedded([(pair.definition, pair.word) for pair in nouns()])


def senses(rows: int = 5000) -> Arrays:
    """Definitions of verbs and the verbs, those with several definitions first."""
    found: dict[str, list[str]] = {}
    for line in (WORDNET / "data.verb").read_text().splitlines():
        if not line.startswith("  "):
            data, gloss = line.split(" | ", 1)
            definition = re.split(r';\s+"', gloss)[0].strip()
            found.setdefault(data.split()[4].replace("_", " "), []).append(definition)
    by_number = sorted(found.items(), key=lambda item: -len(item[1]))
    return embedded([(definition, verb) for verb, own in by_number for definition in own][:rows])


def french(rows: int = 5000) -> Arrays:
    """French words and their first English translations, drawn from all of the alphabet."""
    found = list(translations(gzip.decompress(FREEDICT.read_bytes()).decode()))
    kept = np.random.default_rng(SEED).permutation(len(found))[:rows]
    return embedded([found[row] for row in kept])


def translations(text: str) -> Iterator[tuple[str, str]]:
    """Headwords of a FreeDict dictionary, which come with their pronunciation, and the first translation below each."""
    for headword, below in re.findall(r"^(\S.*) /.*/.*\n(.+)$", text, flags=re.MULTILINE):
        yield headword, re.split("[,;]", re.sub(r"^\d+\. ", "", below))[0].strip()


def photos(rows: int = 6000) -> Arrays:
    """8 × 16 patches of scikit-learn's two photographs, cut in two."""
    from sklearn.datasets import load_sample_images

    cut = np.lib.stride_tricks.sliding_window_view
    patches = [cut(image / 255, (8, 16, 3))[::5, ::5].reshape(-1, 8, 16, 3) for image in load_sample_images().images]
    every = np.concatenate(patches).astype(np.float32)
    kept = every[np.random.default_rng(SEED).permutation(len(every))[:rows]]
    return {"inputs": kept[:, :, :8].reshape(rows, -1), "targets": kept[:, :, 8:].reshape(rows, -1)}


def embedded(texts: list[tuple[str, str]]) -> Arrays:
    """Pairs of texts as pairs of embeddings; equal target texts are one target."""
    vectors = embed([text for pair in texts for text in pair])
    _, ids = np.unique([target for _, target in texts], return_inverse=True)
    return {"inputs": vectors[0::2], "targets": vectors[1::2][first_of(ids)], "ids": ids}


def first_of(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each row the first row with its id: MiniLM embeds a text a little differently in another batch."""
    _, first = np.unique(ids, return_index=True)
    return first[ids]


SETS: dict[str, Callable[[], Arrays]] = {"words": words, "senses": senses, "french": french, "photos": photos}


def written(folder: Path) -> dict[str, str]:
    """What ``--data`` says for each set, by name; files that are missing are made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in SETS.items():
        if not (folder / f"{name}.npz").exists():
            np.savez(folder / f"{name}.npz", **make())  # type: ignore[arg-type]  # taken for allow_pickle
    return {"digits": "digits"} | {name: str((folder / f"{name}.npz").resolve()) for name in SETS}


if __name__ == "__main__":
    for name, data in written(Path(sys.argv[1])).items():
        print(f"{name}: {data}")
