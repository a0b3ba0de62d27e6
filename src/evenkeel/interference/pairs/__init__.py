"""How much slower a victim gets beside a partner, learnt from measured co-runs. Pure."""
