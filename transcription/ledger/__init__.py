"""The ledger in Redis: Lua scripts, the stores built on them, and Celery's broker. Redis' errors become ours here."""
