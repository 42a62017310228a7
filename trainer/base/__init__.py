"""What everything else stands on: errors, files, YAML, signals."""
