"""Listens to the profilers inside VMs; `channels.ChannelProfiles` is the way in."""
