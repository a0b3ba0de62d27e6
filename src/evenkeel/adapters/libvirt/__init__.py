"""libvirt and the cgroups beneath it, as a Hypervisor."""
