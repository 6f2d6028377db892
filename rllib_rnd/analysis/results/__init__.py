"""What came out of runs: read from wherever they are kept, grouped, compared."""
