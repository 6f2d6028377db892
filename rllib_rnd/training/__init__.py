"""Training: what learners do with rollouts."""
