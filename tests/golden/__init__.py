"""Golden files: a tenant's tree in `cases/<case>.in.yaml`, the HAProxy configuration it must give in `<case>.out.cfg`."""
