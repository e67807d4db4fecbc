"""What a team would otherwise write: the systems that the wallet is measured beside."""
