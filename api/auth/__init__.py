"""Who may do what: API keys, scopes, rate limits, quotas, the audit log."""
