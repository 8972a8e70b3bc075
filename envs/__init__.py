"""Ready-made environments and verifiers, registered through the entry-point group `llmgym.envs`."""
