"""``python -m rllib_rnd``: the same as ``rllib``."""

from rllib_rnd.cli import main

main()
