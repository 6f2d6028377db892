"""Self-supervised network distillation and its relatives."""
