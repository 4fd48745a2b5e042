"""`python -m prunus.cli`."""

from prunus.cli import main

main()
