"""What opens media files: the probe, the sandbox that it runs in, and the decoder."""
