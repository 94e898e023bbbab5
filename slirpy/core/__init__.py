"""The stack: frames in, frames out, a deadline. It does no I/O, reads no clock, and is handed its random numbers."""
