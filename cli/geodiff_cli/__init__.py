"""The command line of geodiff; every command lives in a module of its own."""
