"""Experiment files: read, checked and made ready for Ray Tune."""
