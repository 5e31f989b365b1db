"""`murmur transcribe` and `murmur watch`: recordings in, transcripts out."""
