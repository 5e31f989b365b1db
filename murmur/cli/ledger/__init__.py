"""Commands straight against the ledger: they need no API, and no key."""
