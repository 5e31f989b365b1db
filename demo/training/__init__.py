"""How the demo model was made: needs espeak-ng and `requirements.txt` of this folder, which the platform doesn't."""
