"""The write side: one deterministic state machine per partition decides and journals."""
