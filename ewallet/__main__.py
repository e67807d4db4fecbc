"""`python -m ewallet` is `ewallet`."""

from ewallet.cli import main

main()
