"""What can be measured: exported files and their peers."""
