"""Networks of named hosts that run whole programs in virtual time."""
