"""Gymnasium environments for language-model agents."""

from pkgutil import extend_path

# In a checkout the folder `llmgym` may come before the installed package on sys.path (`python -m` in the
# repository root); the installed one holds llmgym.envs, llmgym.sandbox and llmgym.agents.
__path__ = extend_path(__path__, __name__)
