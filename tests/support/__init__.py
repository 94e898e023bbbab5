"""Helpers of tests in several folders. What serves one folder only lies there, beside its conftest.py."""
