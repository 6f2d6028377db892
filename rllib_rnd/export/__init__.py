"""Policies that act by themselves: out of a checkpoint, or written into a folder that needs neither Ray nor this."""
