"""The guard for outbound HTTP."""
