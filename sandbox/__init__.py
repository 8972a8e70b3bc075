"""Ready-made sandboxes, registered through the entry-point group `llmgym.sandboxes`."""
