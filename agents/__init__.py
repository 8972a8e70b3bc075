"""Ready-made learning agents, registered through the entry-point group `llmgym.agents`."""
