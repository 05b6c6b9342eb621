"""What was used: attempts and calls are written down here, however they end."""
