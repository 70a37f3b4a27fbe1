"""What all packages stand on: errors that speak to the user, and files written whole."""
