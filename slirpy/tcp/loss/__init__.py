"""Loss detection and recovery: SACK, RACK-TLP, proportional rate reduction, NewReno, undo of spurious reactions."""
