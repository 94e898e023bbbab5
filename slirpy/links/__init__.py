"""Frame carriers: what brings a guest's frames to the stack and back. One file a carrier."""
