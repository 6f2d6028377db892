"""What is timed: one module per question, each a command of its own; see README.md."""
