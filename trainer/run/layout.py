"""What lies in the folder of a run."""

CONFIG_FILE = "config.yaml"
HISTORY_FILE = "history.jsonl"
BEST_FILE = "best.pt"
LAST_FILE = "last.pt"
PREVIOUS_FILE = "previous.pt"
ATTEMPT_FILE = ".attempt"
