"""How a process of the wallet lives: its settings, its start, its refusal, its end."""
