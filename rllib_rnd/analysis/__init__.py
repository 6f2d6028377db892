"""Looking at what runs did, after the fact; only `cli` uses it."""
