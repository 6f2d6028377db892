"""What a run tells while it trains: one table of metrics, a terminal display and an MLflow logger."""
