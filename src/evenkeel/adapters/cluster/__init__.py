"""Work on a Ray cluster: `workers` here, `driver` in a process of its own, `tasks` in Ray."""
