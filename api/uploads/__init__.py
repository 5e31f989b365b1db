"""Request bodies with audio: parsed while they come, written once, hashed."""
