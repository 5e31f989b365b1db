"""Connections to Redis: opened, shared, given up in time, and what their errors mean."""
