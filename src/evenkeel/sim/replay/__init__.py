"""A whole fleet over days under several policies: its recorded demand, on its hosts, in arrays."""
