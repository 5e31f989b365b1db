"""A model on a device, in a process of its own: what nothing but this process imports."""
