"""What the ledger keeps of each tenant: API keys, quotas, secrets of webhooks; and all of it deleted."""
