"""Insight: what trained agents attend to, and what their features know."""
