"""Reads and tunes one host's VMs through libvirt; `hypervisor.LibvirtHypervisor` is the way in."""
