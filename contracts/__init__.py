"""The language that proxy, writer and reader share: pure types, codecs, names and bounds.

This package imports none of the services and nothing that knows a clock, a network or an
environment, so that every service can be reasoned about from these files alone.
"""
