"""Submit, schedule, follow and check runs on a cluster."""
