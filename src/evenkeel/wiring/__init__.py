"""The only place where adapters meet services. One module a process, so that each stays light."""
