"""The read side: follows journals, answers queries, pushes results to the proxies."""
