"""Whether this worker may take another span: its memory, its store, its models, its threads."""
