"""Drivers of a network: the loop that polls it, a thread or asyncio around it, and calls from other threads."""
