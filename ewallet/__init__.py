"""The outside of the wallet: the command line, the embedded mode and its supervision.

This package starts the services as processes and speaks HTTP to them. It knows no rule about
money and opens no connection to NATS.
"""
