"""The recipe of the demo speaker embedder."""
