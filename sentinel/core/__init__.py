"""The rule of the sentinel: which Raft groups are asked to choose a leader now. Pure."""
