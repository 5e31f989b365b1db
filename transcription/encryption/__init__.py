"""Encryption at rest: the form of encrypted files, the keys, and files that may be either encrypted or plain."""
