"""OpenAI's API: transcriptions and translations, their streams and speakers, and chats that carry a recording."""
