"""Floor 4: the pages an operator or a tenant looks at in a browser.

Not here: anything the API does not say already. Still empty: start with `api/`, whose answers the pages will show.
"""
