"""What all packages share: errors that speak to the user, and files written whole."""
