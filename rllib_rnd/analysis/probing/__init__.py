"""Probes: what features know of the state."""
