"""What an exported file must hold: parity, accuracy, time, and the verdict."""
