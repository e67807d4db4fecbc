"""The single-request benchmark: the wallet and its peers under the same load on one machine."""
