"""The parts of `geodiff batch`: units of work, what is done of them, sharing out, the catalogue."""
