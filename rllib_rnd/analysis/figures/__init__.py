"""Pictures, videos and pages of what analysis has found."""
