"""Search spaces: YAML to typed parameters, study settings, and what is feasible on given data."""
