"""The proxy's loops: requests to their partitions and back, changes to who watches."""
