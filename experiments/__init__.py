"""One folder per study: a README.md by hand, data, and a results.md and figures made of the data."""
