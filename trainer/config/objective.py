"""What a trial may be judged by."""

from typing import Literal

Objective = Literal[
    "val/mrr",
    "val/cosine_sim",
    "val/recall_at_1",
    "val/recall_at_5",
    "val/recall_at_10",
    "val/mrr_at_10",
    "val/ndcg_at_10",
]
"""Higher is better, and comparable between losses and batch sizes."""
