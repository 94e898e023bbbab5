"""Walls around a process that carries guests' traffic (Linux)."""
