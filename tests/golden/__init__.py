"""Golden files: a tenant's tree in `cases/<case>.in.yaml` and the HAProxy configuration that it must give beside it."""
