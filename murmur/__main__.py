"""`python -m murmur`."""

from murmur.cli.main import main

main()
