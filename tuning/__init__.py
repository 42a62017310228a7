"""Studies: search spaces, trials, tracking. Imports trainer; nothing imports tuning."""
