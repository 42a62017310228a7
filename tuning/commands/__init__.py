"""What each command does, for Python and for the command line."""
