"""Pure rules of the edge: forms of requests, held requests, what an outcome looks like."""
