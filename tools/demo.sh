#!/usr/bin/env bash
# The main job, end to end, on scikit-learn's digits: left half of each image -> right half.
set -euo pipefail
bin=$1
root=demo
run() { printf '\n\033[1m$ losstune %s\033[0m\n' "$*"; "$bin/losstune" "$@"; }

rm -rf "$root"
mkdir -p "$root"
began=$SECONDS
echo "A study of the four losses of the guide, 270 epochs each, on the cores of this machine."
run launch mse cosine cosine_mse infonce --data digits --study demo --storage "$root" --epochs-per-loss 270 --max-epochs 27
run status demo --storage "$root"
run confirm demo --storage "$root" --top 1 --seeds 10 --smallest
run report demo --storage "$root" --output "$root/report.html"
run export demo --storage "$root" --output "$root/best.yaml"
run train --config "$root/best.yaml" --output_dir "$root/final" --test | tail -n 8
run predict --checkpoint "$root/final/best.pt" --data digits --output "$root/predictions.npy"
cat <<END

Done in $((SECONDS - began)) s. Look around:
  source .venv/bin/activate
  losstune ui --storage $root                       # every trial in MLflow, http://127.0.0.1:5000
  xdg-open $root/report.html                        # the answer, with figures: one file for any browser
  losstune compare demo --storage $root --json      # every number, for programs
  cat $root/best.yaml                               # the setting, and where it came from
Next, your own data (.npz with inputs, targets and, if rows share targets, ids):
  losstune check infonce cosine --data mine.npz     # what would it cost?
  losstune launch infonce cosine --data mine.npz --study mine
END
