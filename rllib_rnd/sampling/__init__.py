"""Sampling: what environment runners do, and what the algorithm does with them."""
