"""The account of memory: what the kernel holds resident, told apart by what the runtime says of it."""
