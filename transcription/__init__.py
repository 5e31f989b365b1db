"""The domain of Murmuration: jobs, computations, spans and transcripts, and the adapters that keep them."""
