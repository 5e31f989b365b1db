"""The ledger's hashes as the domain's values, and back."""
