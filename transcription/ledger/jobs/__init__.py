"""Jobs for the API: submitted, read, listed, watched; their transcripts and events."""
