"""What holds with fresh seeds: plan, scores, baselines, statistics, and sentences about them."""
