"""The native routes, one noun a file."""
