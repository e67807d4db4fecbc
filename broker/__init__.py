"""Everything that touches NATS and what it stored, once for all three services.

`port` says what the services need of a broker; `nats_broker` does it with JetStream. The check of
a stopped server's files lives here too, because it is the same journal seen from below.
"""
