"""Frame carriers: transports between a guest and the stack, one file each."""
