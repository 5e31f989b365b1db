"""From decoded sound to what the model gets: where speech is, and the windows that are cut from it."""
