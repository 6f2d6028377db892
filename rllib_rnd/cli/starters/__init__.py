"""What ``rllib new`` copies: a plug-in of each kind in one short file, and a test of it."""
