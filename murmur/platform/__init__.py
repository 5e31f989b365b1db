"""The whole platform on one machine, which is what `murmur up` runs."""
