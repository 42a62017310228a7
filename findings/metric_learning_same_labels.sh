#!/usr/bin/env bash
# pytorch-metric-learning 2.9.0 with torch 2.13.0: passing the same labels twice makes a two-tower loss exactly zero.
#
# Row i of one tower belongs to row i of the other, so both have the same labels, and loss(images, labels,
# ref_emb=texts, ref_labels=labels) is the natural call. Where ref_labels is the very object that labels is, the
# library takes the references to be the embeddings themselves and removes the pairs (i, i): all the positives there
# are. The loss is 0.0 and so is every gradient, without a warning, and training goes on. An equal tensor in another
# object, labels.clone(), gives the loss one asked for: cross-entropy over the batch.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  torch==2.13.0 pytorch-metric-learning==2.9.0 numpy==2.4.6 scikit-learn==1.9.1

venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import torch
from pytorch_metric_learning.losses import NTXentLoss
from torch.nn.functional import cross_entropy, normalize

print("torch", version("torch"), "pytorch-metric-learning", version("pytorch-metric-learning"))
torch.manual_seed(0)
images, texts, labels = torch.randn(8, 16, requires_grad=True), torch.randn(8, 16), torch.arange(8)
loss = NTXentLoss(temperature=0.1)


def value_and_gradient(found: torch.Tensor) -> tuple[float, float]:
    (gradient,) = torch.autograd.grad(found, images)
    return round(found.item(), 4), round(gradient.abs().max().item(), 4)


plain = value_and_gradient(cross_entropy(normalize(images) @ normalize(texts).T / 0.1, labels))
same = value_and_gradient(loss(images, labels, ref_emb=texts, ref_labels=labels))
copy = value_and_gradient(loss(images, labels, ref_emb=texts, ref_labels=labels.clone()))
print("expected, loss and largest gradient:", plain, "whichever object holds the labels")
print("seen, ref_labels=labels:            ", same)
print("seen, ref_labels=labels.clone():    ", copy)
sys.exit(0 if same == (0.0, 0.0) and copy == plain != same else "no longer so")
PY
