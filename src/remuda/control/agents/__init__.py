"""The agents' side: sessions, and what each agent is told."""
