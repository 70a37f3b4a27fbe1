"""What a person sees in the terminal: live tables and plain lines."""
