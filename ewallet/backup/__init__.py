"""Backups of a wallet: how they are taken from one that runs, what they are, how they come back."""
