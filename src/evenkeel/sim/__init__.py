"""An in-memory world behind the agent's ports: hosts, VMs, time, faults, link and memory.

It lets the whole agent run where there is no hypervisor, and tests run hours of it in seconds.
The same seed gives the same bytes.
"""
