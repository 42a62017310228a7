#!/usr/bin/env bash
# ir_measures 0.4.3 with pytrec_eval-terrier 0.5.11: a cut-off raises the reciprocal rank of a ranking.
#
# RR@10 looks at the first ten documents of a ranking, RR at all of them, so RR@10 can not be above RR, and in a
# ranking of two documents they are equal. Where two documents have equal scores they are not: RR breaks the tie by
# document id downwards (trec_eval's rule), RR@k by document id upwards (that of MS MARCO's script), because the two
# names are served by different programs. P@1 and nDCG@10 follow the first rule, so RR@1 is 1 where P@1 is 0. Scores
# from int8 or binary embeddings, and float64 scores that differ by less than float32 shows, are full of such ties.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  ir_measures==0.4.3 pytrec_eval-terrier==0.5.11 numpy==2.4.6 scipy==1.17.1

venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import ir_measures
from ir_measures import RR, P, Qrel, ScoredDoc, nDCG

print("ir_measures", version("ir_measures"), "pytrec_eval-terrier", version("pytrec_eval-terrier"))


def scores(relevant: str, first: float, second: float) -> dict[str, float]:
    run = [ScoredDoc("q", "a", first), ScoredDoc("q", "b", second)]
    found = ir_measures.calc_aggregate([RR, RR @ 10, RR @ 1, P @ 1, nDCG @ 10], [Qrel("q", relevant, 1)], run)
    return {str(measure): round(value, 3) for measure, value in found.items()}


above = scores("a", 1.0, 1.0)
below = scores("b", 1.0, 1.0)
close = scores("a", 1.0 + 1e-9, 1.0)
print("expected: RR and RR@10 are equal in a ranking of two documents, and RR@1 equals P@1")
print("seen, 'a' and 'b' tied, 'a' is relevant:       ", above)
print("seen, 'a' and 'b' tied, 'b' is relevant:       ", below)
print("seen, 'a' ahead of 'b' by 1e-9, 'a' is relevant:", close)

as_described = (
    (above["RR"], above["RR@10"], above["RR@1"], above["P@1"]) == (0.5, 1.0, 1.0, 0.0)
    and (below["RR"], below["RR@10"], below["RR@1"], below["P@1"]) == (1.0, 0.5, 0.0, 1.0)
    and (close["RR"], close["RR@10"]) == (0.5, 1.0)
)
sys.exit(0 if as_described else "no longer so")
PY
