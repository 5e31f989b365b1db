"""`python -m murmur`."""

from murmur.cli import main

main()
