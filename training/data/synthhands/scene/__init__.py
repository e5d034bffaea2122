"""What a synthetic scene holds: bodies, poses, contact, cameras."""
