"""The inference engines behind one interface, and the contract their files keep."""
