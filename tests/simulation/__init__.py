"""A deterministic simulation of the control plane: real decisions, virtual time, an outside that fails on purpose."""
