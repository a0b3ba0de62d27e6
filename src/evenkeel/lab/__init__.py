"""A fleet of real QEMU guests on one machine, to try and test with."""
