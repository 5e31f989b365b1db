"""What a worker counts, and the endpoint that shows it."""
