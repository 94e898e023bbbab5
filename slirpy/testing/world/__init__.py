"""The simulated outside world: hosts, programs, paths with delay and loss, and names, in virtual time."""
