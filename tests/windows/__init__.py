"""The tests on Windows: a Windows CPython under Wine, fetched into a cache folder."""
