"""Floor 3: the loop. Claim a due load balancer, observe, plan, act through the drivers, settle; and the chores.

Not here: what the steps should be (`plan/`), SQL (`store/`), how a driver works. Start with `reconcile.py`, one pass;
`worker.py` says when passes run (`run_control` is the whole process), `chores.py` what is done besides.
"""
