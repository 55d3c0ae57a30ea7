"""LangGraph graphs: the agent, the skill creator, prompt nodes."""
