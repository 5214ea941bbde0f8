"""The BPF datapath in the kernel: compiled, loaded, attached, changed and watched."""
