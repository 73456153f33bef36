"""The edge to people and programs: HTTP and WebSocket. Knows ports, schema and control; never an adapter."""
