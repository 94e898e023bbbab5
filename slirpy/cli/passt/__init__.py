"""Programs with the command lines of passt and pasta."""
