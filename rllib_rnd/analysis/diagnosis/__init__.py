"""What is well and what is not, of a machine, a run, a checkpoint: findings, each with what to do."""
