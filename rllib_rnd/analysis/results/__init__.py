"""What came out of finished runs: loaded, grouped, compared, and written down as a page, tables and figures."""
