"""One version beside another: old databases, old agents with new controllers and the reverse, and rolling restarts."""
