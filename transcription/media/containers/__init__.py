"""Where in a file one container ends and another begins, told by its bytes; runs in the sandbox, as `codecs` does."""
