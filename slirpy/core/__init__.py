"""The stack: frames in, frames out, a deadline. No I/O, no clock, no dice."""
