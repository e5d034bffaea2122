"""What files give on other CPUs than this one: their arithmetic, by emulation, which says nothing of their speed."""
